"""Tells who watches machines which of them needs a look: it fell silent, is hot, slow or failing.

`rules` derives alerts from the fleet, `alerter` sends each once, outside of quiet hours, to the
desktop and to the services of the settings (e-mail, webhooks, chats, by apprise). The session puts
it together; the window listens to it. This package knows nothing of windows.
"""
