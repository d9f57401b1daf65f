"""Tasks: what callers of the local API have this machine train, with the volunteer's consent.

`order` makes a spec of what a caller sent; `tasks` asks for consent, then joins and trains; `task`
holds status, progress and log.
The local API, headless and the window's consent dialog import from here. This package knows no
HTTP; it sees of the session the store, and how to join, leave and start training.
"""
