"""The overview page: the state, the button that changes it, the charts, and the main figures.

Outside of a swarm it shows the ways into one. It is built before the window's first paint, so it
must not import plots, numpy or the spec at the top of a module.
"""
