"""Plots on pyqtgraph, with a crosshair, zoom, smoothing and a menu to take them out.

`training_charts` holds the charts of loss and throughput, `plot` the curves over time or the run's
progress (`x_axis`), `curves` what is drawn as values, `axes` the look that all plots share.
Importing a plot loads pyqtgraph and numpy, which takes long: import this package only after the
window's first paint.
"""
