"""The pages of the window. They don't know each other."""
