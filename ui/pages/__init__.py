"""The pages of the window, one package each; `page` holds the page's main widget.

A widget that only one page uses lives in that page's package. `ui.main_window` creates the pages.
They don't import each other (import-linter, rule 4), nor the dialogs or the window.
"""
