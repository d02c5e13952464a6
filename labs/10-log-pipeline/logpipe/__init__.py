"""What the programs of this lab have in common: the game, the tables, and the sink between them."""
