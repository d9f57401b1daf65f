"""Widgets that several pages or dialogs use: cards, buttons, labels, tables, forms, charts.

A widget of one page or dialog only lives with that page or dialog instead. Widgets show values
that they are given and emit signals; they know nothing of pages, dialogs or the window.
"""
