"""Take a model out of its run: which run, where to, and the process that does it.

Works beside a running app with the same data folder: it reads checkpoints and changes none.
`fetching.py` has the weights of a swarm fetched in which this machine doesn't train.
"""
