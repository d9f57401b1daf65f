"""The model, its loss, its precision and its optimizer, each from the spec alone.

All peers must start from the same weights and take the same steps. So nothing here depends on the
machine, except the device that holds the model and the precision that it computes in.
Assembly builds the model, strategies make the optimizer, tuning tries both. Nothing here knows
the swarm.
"""
