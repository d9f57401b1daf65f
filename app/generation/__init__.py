"""The app's side of writing texts with the swarm's model: a process that ends when nobody writes.

The process is `app.trainer.generation`; this package knows of it only what its messages tell.
"""
