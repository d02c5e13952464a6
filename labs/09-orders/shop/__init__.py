"""The shop of lab 9: the parts that its programs share."""
