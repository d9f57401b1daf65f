"""One run of the app on this machine: its lock, its child processes and its start.

An `Instance` holds the lock of the data folder, listens for second starts (`handover`), and makes
sure that no process of this run outlives it (`processes`). `start_guard` counts starts that failed
in a row; `stalls` measures blockings of the event loop. The session, the window, headless mode and
`app.training` use this package; it knows nothing of swarms, settings or what the trainers do.
"""
