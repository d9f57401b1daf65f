"""What an export is doing, in words."""

from app.common.i18n import _
from app.takeout.messages import ExportProgress, ExportStep


def step_in_words(progress: ExportProgress) -> str:
    """The step, with its share in percent where that is known."""
    text = {
        ExportStep.FETCHING: _("Fetching the swarm's weights…"),
        ExportStep.LOADING: _("Loading PyTorch…"),
        ExportStep.READING: _("Reading the checkpoint…"),
        ExportStep.WRITING: _("Writing the model…"),
        ExportStep.CHECKING: _("Loading what was written, to check it…"),
        ExportStep.HASHING: _("Looking what the hub has already…"),
        ExportStep.UPLOADING: _("Uploading…"),
    }[progress.step]
    if progress.step is ExportStep.FETCHING and progress.size:
        return f"{text} {_arrived(progress)}"
    return f"{text} {percent_of(progress)} %" if progress.size else text


def _arrived(progress: ExportProgress) -> str:
    done, size = progress.done / 1e6, progress.size / 1e6
    if progress.seconds_left is None:
        text = _("{done:.1f} of {size:.1f} MB, {percent} %")
    else:
        text = _("{done:.1f} of {size:.1f} MB, {percent} %, {seconds:.0f} s left")
    return text.format(
        done=done, size=size, percent=percent_of(progress), seconds=progress.seconds_left or 0.0
    )


def percent_of(progress: ExportProgress) -> int:
    """How much of its step is done, 0 to 100; 0 where it isn't known."""
    return 100 * progress.done // progress.size if progress.size else 0
