"""The model page: what the swarm's model is, how good it is, what it writes, and a box to try it.

A text of one's own is written by a process that `app.generation` owns, never in the window's.
"""
