"""Dialogs: into a swarm, and others into ours."""
