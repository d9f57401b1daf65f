"""What a trainer does before its first step, and whom it waits for, in words."""

from app.common.i18n import _, ngettext
from app.protocol import FileDownload, StateDownload, TrainerPhase, Waiting
from ui.texts import units


def sentence(
    step: TrainerPhase | None,
    waiting: Waiting | None = None,
    download: StateDownload | FileDownload | None = None,
) -> str:
    """What the trainer is preparing, or which peers it waits for."""
    if waiting is not None:
        return _waiting(waiting)
    match download:
        case StateDownload():
            return _downloading(download)
        case FileDownload() if not download.is_complete:
            return _fetching(download)
    match step:
        case TrainerPhase.PREPARING_DATA:
            return _("Preparing the training data…")
        case TrainerPhase.PREPARING_MODEL:
            return _("Building the model…")
        case TrainerPhase.JOINING:
            return _("Joining the run…")
        case TrainerPhase.TUNING:
            return _("Finding the best batch size for this device…")
        case TrainerPhase.COMPILING:
            return _("Compiling the model for this device; the first time takes a minute…")
        case TrainerPhase.SYNCHRONIZING:
            return _("Downloading the model's state from a peer…")
        case _:
            return _("Loading the training software (PyTorch and Hivemind)…")


def so_far(sentence: str, seconds: float) -> str:
    """A sentence about what is being prepared, with the time that this has taken."""
    return _("{sentence} {time} so far.").format(sentence=sentence, time=units.duration(seconds))


def reading_files() -> str:
    """What happens before a trainer is started, where the swarm has slots."""
    return _("Reading the files of this machine that the swarm asks for; large ones take minutes…")


def _waiting(waiting: Waiting) -> str:
    if waiting.whom == "doors":
        text = ngettext(
            "Waiting for the swarm's entry point, so that the swarm doesn't"
            " split ({seen} of {count} reached)…",
            "Waiting for the swarm's entry points, so that the swarm doesn't"
            " split ({seen} of {count} reached)…",
            waiting.known,
        )
    else:
        text = ngettext(
            "Waiting for the others: {count} machine trains, but can't be reached yet…",
            "Waiting for the others: {count} machines train, but none can be reached yet…",
            waiting.known,
        )
    return text.format(seen=units.count(waiting.seen), count=units.count(waiting.known))


def _downloading(download: StateDownload) -> str:
    if download.problem:
        text = _(
            "Waiting for a peer that gives the model's state: {reason}."
            " Nothing is trained until then."
        )
        return text.format(reason=download.problem)
    arrived = units.part_of_size(download.received, download.size)
    if download.seconds_left is None:
        return _("Downloading the model's state: {arrived}…").format(arrived=arrived)
    text = _("Downloading the model's state: {arrived}, about {duration} left…")
    return text.format(arrived=arrived, duration=units.duration(download.seconds_left))


def _fetching(download: FileDownload) -> str:
    what = {
        "weights": _("the weights to begin with"),
        "tokenizer": _("the tokenizer"),
        "data": _("the training data"),
    }[download.what]
    if download.size is None:
        arrived = _("{size} so far").format(size=units.size(download.received))
    else:
        percent = units.percent(download.received, download.size)
        arrived = f"{units.part_of_size(download.received, download.size)} ({percent})"
    if download.seconds_left is None:
        return _("Downloading {what}: {arrived}…").format(what=what, arrived=arrived)
    text = _("Downloading {what}: {arrived}, about {duration} left…")
    left = units.duration(download.seconds_left)
    return text.format(what=what, arrived=arrived, duration=left)
