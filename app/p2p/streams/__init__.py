"""Streams that peers open to each other beside hivemind's own calls: one message, one answer.

`frames` sends and receives messages of bounded length; `serving` answers strangers, whose number,
rate and size are bounded before anybody looks at what they sent.
"""
