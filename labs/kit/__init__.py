"""What the lab programs share; what broker.py needs of it is standard library only."""
