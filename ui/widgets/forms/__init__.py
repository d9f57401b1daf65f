"""Form fields, and the settings as rows of a form.

`fields` knows only text and controls. `settings_rows` lists the settings, and `settings_form` saves
each through `ui.models.preferences` as soon as it is changed.
"""
