"""What the programs of lab 8 have in common."""
