"""The app's side of the trainers: when they run, and how they are started, watched and stopped.

`training` has the use cases (start, pause, resume, stop); `governor` judges the volunteer's terms
once a second; `ensemble` makes several trainers look like one; `supervisor` runs one process and
speaks `app.protocol` with it.
The session and the demo import from here; `ui` uses it as ``session.training``. This package never
imports torch, hivemind or `app.trainer`: it knows of a trainer only what its messages tell.
"""
