"""From the form *Start a swarm* to a spec.

`names` has the form's fields and which of them matter; `draft` makes a spec of their texts, or
says at which field what is wrong; `sizes` are models to choose from. The dialog imports from here.
Nothing in here knows Qt.
"""
