"""How the peers of a strategy tell each other what they learnt: one blob of bytes each, a round.

A round has a leader, which its epoch and the peers' ids decide alone (`election`). Each member
sends it an offer and the blob (`follower`). The leader fixes the list of offers that count
(`leader`). From then on each member fetches the blobs of that list in pieces, from whoever has
them (`holding`, `fetching`). `member` puts these together, `exchange` is what a strategy uses.
Nothing here knows what is in a blob.
"""
