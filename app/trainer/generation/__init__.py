"""Writing texts with the newest weights that a trainer of this machine has kept.

A process of its own (`main.py --trainer --generate`), which the app starts when somebody wants a
text: `serve` obeys the app, `writer` has model and tokenizer. It computes on one thread of the CPU
at the lowest priority, and is no peer of the swarm.
"""
