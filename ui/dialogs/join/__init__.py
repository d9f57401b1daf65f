"""The dialog to join a swarm: choose one, preview it, then join it or only watch.

`dialog` holds the two steps. `invite_input`, `recent` and `offers` are the three places to choose a
swarm from; `preview` shows what joining means. Nothing is joined before the user agrees.
"""
