"""Everything that is said to the CoTrain backend, and nothing that other programs say to us.

`reporting` is the entrance: the session opens it, and front ends sign in, ask for sessions and see
how reporting goes through it; `offers` shows the backend's sessions as swarms to join. `delivery`
sends the contributions of the ledger's outbox, exactly once. `client`, `account` and `http` are the
backend's calls; `errors` is how they fail. Nothing here knows the trainer, or how a contribution
is measured.

`httpx2` and `socketio` take half a second to import, so import only `reporting`, `offers` and
`node` at the start; `reporting` loads the rest in a thread.
"""
