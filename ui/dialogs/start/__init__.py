"""Starting a swarm: a form with the spec's fields, and a strategy that suits model and line."""
