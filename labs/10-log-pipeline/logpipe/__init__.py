"""The parts that this lab's programs share: the game, the tables, and the sink between them."""
