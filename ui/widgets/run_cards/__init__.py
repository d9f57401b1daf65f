"""What several pages show of a run: its epoch, what it is for, what this machine achieved in it."""
