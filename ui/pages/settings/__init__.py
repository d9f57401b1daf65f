"""The settings page: the volunteer's terms, and all other settings by section.

Each change is saved at once through `ui.models.preferences`. The rows themselves are in
`ui.widgets.forms.settings_rows`, since the first steps show some of them too.
"""
