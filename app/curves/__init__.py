"""The curves of the charts on the disk, so that they survive leaving a swarm and restarting.

`storage` is the SQLite file, `evaluations` its tables of what the model can, `keeper` writes a
swarm's curves into it and puts them back when the swarm is joined again, `export` writes them as
CSV or JSON, `loss_change` says how a run's loss changed in a time. The curves
themselves are `app.state.history`.
"""
