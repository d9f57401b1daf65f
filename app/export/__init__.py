"""Take a model out of its run: which run, where to, and the process that does it.

`kept_runs` finds the runs with checkpoints on this machine, `target` checks where the model is to
go, `exporter` starts the process and reads its reports, and `words` says them to the user.
`fetching` has the weights of a swarm fetched in which this machine doesn't train. Headless, the
export dialog and the Model page import from here. It works beside a running app with the same data
folder: it reads checkpoints and changes none. Nothing in here imports torch.
"""
