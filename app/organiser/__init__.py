"""Whose swarm it is: the organiser's key, the signed invite, and the roster of a closed swarm.

`invites` signs and checks invites, `known` remembers whose key a swarm had, `roster` is the signed
list of members, `members` changes it, and `admission` is asked by every node of ours before it lets
a peer take part. The packages above (`app.p2p`, `app.swarm`, the trainer) import from here. Nothing
in here knows the network, hivemind or torch.
"""
