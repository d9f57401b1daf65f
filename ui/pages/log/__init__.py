"""The log page: the newest log lines of app, trainer and network, filtered.

It reads the ring buffer of `app.common.logs`, not the log files.
"""
