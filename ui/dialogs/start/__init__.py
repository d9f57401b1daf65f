"""Starting a swarm: four questions, behind them a form with the spec's fields, and a strategy that
suits model and line."""
