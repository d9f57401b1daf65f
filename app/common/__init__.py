"""The ground that every other package stands on: errors, texts, logs, files and background tasks.

Any package of `app` and `ui` may import from here. Nothing in here knows swarms, training, the
session or the window: a module belongs here when another program could use it as it is. Exceptions
that a user can mend are all in `errors`; the app's folders and file names are all in `paths`.
"""
