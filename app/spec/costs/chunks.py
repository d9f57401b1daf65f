"""When the logits of a large vocabulary are computed some tokens at a time: on a CPU, for now."""

LARGE_VOCABULARY = 2**14
"""From this one on, the logits are computed in chunks: loading what computes them takes half a
second and 50 MB, so small ones gain nothing."""

CHUNK = 512
"""Tokens whose logits are held at a time. Smaller chunks made steps slower, larger ones not
faster."""

CHUNKS_SINCE = (2, 13)
"""The first version of PyTorch that computes a loss in chunks."""
