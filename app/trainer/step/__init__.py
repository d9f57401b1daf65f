"""A step on a device: forward, backward, what is read of it and when, and which size is fastest.

`gradient` computes a micro-batch, `waiting` reads from a GPU without holding it up, `trying` times
steps to find the fastest. Nothing here knows specs, messages or the swarm, or imports more than
torch: `tests/bench/run.py gpu` measures it where nothing else of ours is installed.
"""
