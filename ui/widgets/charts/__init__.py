"""Plots on pyqtgraph, with a crosshair and a menu to copy them.

`training_charts` holds the charts of loss and throughput, `plot` the curves over time, `axes` the
look that all plots share. Importing a plot loads pyqtgraph and numpy, which takes long: import
this package only after the window's first paint.
"""
