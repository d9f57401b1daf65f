"""What this machine has contributed: measured, signed, kept, summed up and exported.

`recorder` turns the trainer's counters into contributions, `accounting` defines their numbers,
`ledger` keeps them in a SQLite file, and `outbox` is the part of the ledger that says how far
reporting has come. `summary` adds them up for people, `export` writes them to a file. The session
opens the recorder; the backend, the local API and the window read the ledger through it. Nothing
here knows the CoTrain backend or sends anything.
"""
