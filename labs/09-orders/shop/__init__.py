"""The shop of lab 9: what its programs have in common."""
