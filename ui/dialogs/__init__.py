"""Dialogs: into a swarm, others into ours, and what programs may do here."""
