"""A run's state as bytes: how peers ask for it, fetch it, compare it, and how a door keeps it.

What the bytes mean, only a trainer knows (`app.trainer.joining`). A door passes them on unread.
`wire` has the messages, `download` fetches, `comparing` holds two donors' bytes against each other,
`donors` finds who has the state, `folder` keeps snapshots, and `servicer` sends them.
"""
