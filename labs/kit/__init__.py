"""What the lab programs share, in rooms; each room's first lines say what it may import."""
