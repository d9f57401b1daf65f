"""The child process, the only place that trains: `process.main` is its entrance, for `main` alone.

`assembly` puts a run together from the app's order, `loop` trains, `reporter` tells the app and
the swarm about it. The app and this process share only the messages of `app.protocol`.
Only this package imports torch, and it knows nothing of the window, the settings, or the backend.
"""
