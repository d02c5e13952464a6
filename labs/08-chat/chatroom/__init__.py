"""The parts that the programs of lab 8 share."""
