"""What an export is doing, in words."""

from app.common.i18n import _
from app.takeout.messages import ExportProgress, ExportStep


def step_in_words(progress: ExportProgress) -> str:
    """The step, with its share in percent where that is known."""
    text = {
        ExportStep.LOADING: _("Loading PyTorch…"),
        ExportStep.READING: _("Reading the checkpoint…"),
        ExportStep.WRITING: _("Writing the model…"),
        ExportStep.CHECKING: _("Loading what was written, to check it…"),
        ExportStep.HASHING: _("Looking what the hub has already…"),
        ExportStep.UPLOADING: _("Uploading…"),
    }[progress.step]
    return f"{text} {percent_of(progress)} %" if progress.size else text


def percent_of(progress: ExportProgress) -> int:
    """How much of its step is done, 0 to 100; 0 where it isn't known."""
    return 100 * progress.done // progress.size if progress.size else 0
