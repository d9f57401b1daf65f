"""A swarm's door: a node that stays online, through which others enter the swarm.

`run` holds the node, stays connected to the swarm's other doors and makes invites; `api` answers by
HTTP; `snapshots` keeps the run's state for who joins when nobody trains.
Only headless imports from here. A door trains nothing, and gives nobody a way to change anything.
"""
