"""What labs/measure.py is made of: programs at work, what is measured of them, and the report."""
