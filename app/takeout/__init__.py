"""What app and trainer share to take a model out of its run.

`run_file` is the file beside a run's checkpoints that says which run they are of, `identity` what
makes it this one; `marker` is the file in an exported folder that says that this app wrote it.
`usage` shows how to use what was exported. `messages` has what the app orders of the process that
exports or uploads, and what that reports. `app.export` and the trainer import from here; it knows
neither of them.
"""
