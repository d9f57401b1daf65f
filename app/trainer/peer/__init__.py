"""The trainer's own peer in the swarm: its identity, its DHT process and its p2pd.

`TrainerPeer` is opened by assembly, handed to the strategy, and watched by the reporter.
Here is what a trainer needs in a swarm whatever its strategy is; `traffic` and `bandwidth` count
and limit the bytes of tensors. Nothing here knows torch, a model, or how peers agree on one.
"""
