"""What app and trainer share to take a model out of its run.

`run_file.py` is the file beside a run's checkpoints that says which run they are of, `identity.py`
what makes it this one. `messages.py`
is what the app orders of the process that exports or uploads, and what that reports.
"""
