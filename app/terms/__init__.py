"""The volunteer's terms: when this machine may train, and how much of it.

`terms` decides, as a pure function of the terms and of the machine's present conditions;
`schedule` holds the weekly hours; `sensors` reads the conditions. The settings store the terms, and
`app.training.governor` applies each verdict to the trainers. Nothing in here knows trainers, swarms
or the settings file.
"""
