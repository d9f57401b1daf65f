"""What the app does with the desktop and the system, and never to training.

`autostart` starts the app at login, `notifications` shows them on Linux, `updates` checks for a
newer version, `about` lists versions and licences, and `diagnostics` writes an archive for a bug
report. The session, headless mode and the window use these modules. Nothing in here knows swarms,
trainers or Qt.
"""
