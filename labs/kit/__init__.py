"""What the lab programs share: standard library only, to run before anything is installed."""
