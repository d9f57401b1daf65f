"""The app's side of writing texts with the swarm's model: a process that ends when nobody writes.

`generation` is the entrance: it says whether there are weights to write with, and begins and stops
a text; `process` runs `app.trainer.generation` and speaks with it by messages. Headless, the
session and the Model page import from here. This package knows of models and tokenizers only what
its messages tell.
"""
