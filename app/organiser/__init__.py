"""Whose swarm it is: the organiser's key, the signed invite, and the roster of a closed swarm.

Nothing here knows the network, hivemind or torch. `app.p2p` carries the roster, every node of
ours asks `admission` before it lets a peer take part.
"""
