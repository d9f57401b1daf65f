"""What happened to this machine in its swarms, with times: joined, paused and why, failed, resumed.

`timeline` derives it from events and states and keeps the newest; `keeper` writes it to the disk,
so that it outlives the app. The session puts both together; the overview and the charts show them.
This package knows the state alone, and nothing of swarms, trainers or windows.
"""
