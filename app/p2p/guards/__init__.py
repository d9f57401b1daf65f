"""What our nodes believe of others' records and messages, from the p2pd socket to the storage.

`records` bounds what may stand under a run's keys, `storage` what a node keeps of what others send,
`messages` how long and how nested a message may be. These change hivemind's classes for the whole
process and its forks, so they are put in place where hivemind is first imported
(`app.p2p.run_records`). Nothing here knows what the records are used for. `handshake` asks who
answers at an address.
"""
