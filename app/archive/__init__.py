"""What the machines of a swarm have told of themselves over months, on the disk of who watches.

`storage` is the SQLite file: a day in full, then thinned, bounded in rows. `keeper` writes what the
fleet has read into it, from the moment of joining, and puts the last day back when the app starts
anew. The charts of the machines page read it.
"""
