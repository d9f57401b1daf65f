"""Colours, the style sheet and icons, in the light and the dark theme.

All of `ui` may import it. It knows nothing of the session, the models or any widget of ours.
"""
