"""Take a model out: the process `main.py --trainer --export`, which trains nothing.

`serving.py` obeys the app's one order; `exporting.py` writes a folder that transformers loads,
`card.py` the model card in it, and `uploading.py` sends it to a model hub. `fetching.py` brings the
weights of a swarm here as a peer that doesn't train.
"""
