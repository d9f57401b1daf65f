"""The frame around the pages: the sidebar and the menu bar.

`ui.main_window` owns both. They offer the pages and actions that they are given, and know nothing
of what is on a page.
"""
