"""What the app knows: one frozen state, the events that change it, and the store that holds both it
and the settings.

`transition` has the table from event type to pure function; `store.Store.dispatch` is the only way
to change the state. `history` keeps the past for charts and tables.
Every layer above imports from here: swarm, training, contributions, backend, callback, tasks,
session, `ui`. This package knows the messages, terms, settings and sightings that a state is made
of; it starts nothing, reads no file and knows no process, network or window.
"""
