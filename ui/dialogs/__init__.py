"""The dialogs: join, start and share a swarm, account, local API, diagnostics, first steps.

`host` opens those that buttons, menus and dropped invites ask for, one of a kind at a time, and
imports each only when it is wanted. A dialog asks the user, then emits a signal or calls the
session. Dialogs know nothing of the pages or of the window's layout.
"""
