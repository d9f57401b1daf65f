"""The local HTTP API: what the CoTrain backend, its web page and programs on this machine call.

Only `app.callback.server` is light to import; it loads the rest, FastAPI with it, in a thread.
"""
