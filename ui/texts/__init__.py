"""Pure functions that put states, amounts and times into words of the user's language.

All sentences that depend on a state or on numbers are here; fixed captions stay with their
widgets. All of `ui` may import it. It knows nothing of Qt.
"""
