"""In words: what this machine has given and how it is reported, and the energy that it took."""
