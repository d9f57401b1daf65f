"""What this machine achieved in a run, as a picture to be shared."""
