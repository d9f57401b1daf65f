"""Reads the conditions of this machine that the volunteer's terms ask for.

Callers use `sensors.Sensors`; the other modules each read one thing, such as idle time or the
state of the power supply. Every question to the system has a deadline (`app.machine.question`),
since a driver or a display may hang. Nothing in here decides: the verdict is in `app.terms.terms`.
"""
