"""The page in the browser, for machines without a window: `GET /` of the local API.

`files` are what a browser loads: HTML, styles and scripts from ``resources/page``, in the caller's
language, with headers that allow nothing else. They tell nothing of this machine. What they show
comes from `routes`: `stream` sends each change of the state (`snapshot`) with the charts' new
points, and `tables` are rows of peers, machines, contributions and log lines, a few at a time.

Who may call is decided in `app.callback.access`, as for every other call of the local API.
"""
