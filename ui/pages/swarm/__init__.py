"""The swarm page: the epoch under way, the charts, and tables of peers and averaging rounds.

It shows what the session's state and history hold; it asks the network for nothing itself.
"""
