"""The local HTTP API: what the CoTrain backend, its web page and programs on this machine may ask.

Front ends start it with `server.Callback`, and `sources.sources_of` says what it shows of the
session. `web` and `http` run uvicorn on the app's loop, `access` decides who may call, `routes` and
`schemas` are the calls, and `node`, `events` and `metrics` answer them. The API asks the session
for everything. It never calls the backend, and it knows no trainer and no window.

The swarm's door (`app.door`) builds a small API of its own from `web`, `access` and `metrics`, and
the window shows the `tokens`. Only `server`, `sources`, `tokens` and `web` are light to import; the
rest, with FastAPI, is loaded in a thread.
"""
