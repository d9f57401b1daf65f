"""How the peers of a swarm agree on one model: one file for each strategy.

`protocols.py` says what the training loop and what the rest of the trainer use of a strategy.
`local_steps`, `outer_weights` and `round` are what `diloco` and `sparseloco` share.
Only assembly names a strategy; all others hold one of the two protocols.
A strategy is handed the trainer's peer and the model. It knows nothing of the app, of
checkpoints' files, or of the data.
"""
