"""Commanding the machines of a lab: what, which machines, and what became of it."""
