"""Commands from the admin of a lab to the lab's own machines, over the swarm.

`messages` is what travels: commands that the lab key signs, and answers that the machine signs.
On the admin's machine, `asking` makes the commands, `numbers` counts them and `admin` sends them.
On a paired machine, `memory` keeps what was commanded, `desk` judges each command, `carrying_out`
does it, and `service` lets the swarm call. Threats, and how each is met:
`docs/decisions/lab-commands.md`.
"""
