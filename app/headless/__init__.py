"""The app without a window: for servers, containers and scripts.

`run` is the entrance, which only `main` calls: it opens the session, and joins a swarm, trains,
serves the local API, or is a swarm's door. `display` prints the progress.
Nobody else imports from here. It uses the same session as the window, and knows nothing of Qt.
"""
