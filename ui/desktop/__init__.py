"""The app's tray icon and notifications, outside its window.

`ui.presence` owns both from start to end; dialogs only send notifications. What doesn't need Qt,
such as autostart and notifications over D-Bus, is in `app.desktop`.
"""
