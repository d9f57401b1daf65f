"""The local HTTP API: what the CoTrain backend, its web page and programs on this machine call.

Only what a front end starts, `app.callback.server` and `app.callback.sources`, is light to import;
the rest, FastAPI with it, is loaded in a thread.
"""
