"""hivemind's averaging, with its faults mended and its members' lies bounded.

Strategies build on these classes. On the network our classes are the same as hivemind's: their
RPCs and records have hivemind's names, so that plain hivemind peers can train with us. Each
WORKAROUND names the fault of hivemind that it mends.
Nothing here knows the spec, the model, or which strategy uses it.
"""
