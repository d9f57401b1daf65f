"""A lab's commands and their outcomes, in words."""

from enum import StrEnum

from app.common.i18n import _
from app.lab.admin import Silence
from app.lab.messages import LabVerdict


def commands() -> dict[str, str]:
    """What can be commanded, by its name on the command line."""
    return {
        "start": _("Start training"),
        "stop": _("Stop training"),
        "pause": _("Pause for a time"),
        "set": _("Change a term or a setting"),
        "move": _("Move to another swarm"),
        "export": _("Export the model there"),
    }


def hints() -> dict[str, str]:
    """What a command needs beside its name."""
    return {
        "pause": _("Minutes"),
        "set": _("Such as max_temperature=75"),
        "move": _("The other swarm's invite: a link or a file"),
    }


def outcome(of: StrEnum) -> str:
    """What became of a command, in a few words."""
    return {
        LabVerdict.DONE: _("done"),
        LabVerdict.BEGUN: _("begun"),
        LabVerdict.REFUSED: _("refused"),
        LabVerdict.FAILED: _("failed"),
        Silence.UNREACHABLE: _("no answer"),
        Silence.UNPAIRED: _("not paired with this lab"),
        Silence.UNBELIEVED: _("its answer can't be believed"),
    }[of]
