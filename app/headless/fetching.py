"""Fetching a swarm's weights on the command line: progress on stderr."""

from typing import TYPE_CHECKING

from app.common.errors import BusyError
from app.common.i18n import _
from app.common.paths import Folders
from app.export.fetching import fetch_weights
from app.export.words import percent_of, step_in_words
from app.headless.display import say
from app.settings.settings import Settings
from app.swarm.bindings import Bindings
from app.takeout.messages import ExportProgress

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

STEP_PERCENT = 5
"""Between two lines of progress."""


async def fetch(
    spec: "SwarmSpec", *, folders: Folders, settings: Settings, bindings: Bindings
) -> None:
    """Fetch the newest weights, and say how far it is.

    Raises `ExportError`, and `BusyError` while an app has the data folder, which may begin to train
    with the same identity.
    """
    import filelock

    lock = filelock.FileLock(folders.lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BusyError(
            _("this machine has no newer weights, and the app runs, which alone may fetch them."),
            field=str(folders.data),
            remedy=_("Fetch them on its Model page, or close it first."),
        ) from error
    try:
        fetched = await fetch_weights(
            spec,
            folders=folders,
            settings=settings,
            bindings=bindings,
            entries=(),
            on_progress=_Progress().show,
        )
    finally:
        lock.release()
    text = _("Fetched the weights of epoch {epoch} from a trainer.")
    if fetched.from_door:
        text = _("Nobody trains: took the snapshot of epoch {epoch} from the door.")
    say(text.format(epoch=fetched.epoch))


class _Progress:
    """Says each step, and of a step each time that so many more percent of it are done."""

    def __init__(self) -> None:
        self._said = ("", 0)

    def show(self, progress: ExportProgress) -> None:
        """Say it, if it is time."""
        step, percent = progress.step.value, percent_of(progress)
        is_due = percent >= min(100, self._said[1] + STEP_PERCENT) and percent > self._said[1]
        if step != self._said[0] or is_due:
            self._said = step, percent
            say(step_in_words(progress))
