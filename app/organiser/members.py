"""The organiser adds and removes members; the app's window and the command line do it alike."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.common.errors import RosterError
from app.common.i18n import _
from app.common.signing import MachineKey
from app.organiser.admission import Admission
from app.organiser.roster import Roster, body_of, peer_ids_in, to_sign


class Members:
    """The members of one closed swarm of ours. Blocks on files.

    A change is a new roster in the file, from which our app, if it is in the swarm, passes it on
    within seconds.
    """

    def __init__(self, key: MachineKey, *, run_id: str, file: Path) -> None:
        """key: the organiser's. file: of the newest roster."""
        self._key = key
        self._run_id = run_id
        self._file = file

    @property
    def roster(self) -> Roster:
        """The newest roster; serial 0 for none."""
        return self._admission().roster

    def _admission(self) -> Admission:
        return Admission(run_id=self._run_id, organiser_key=self._key.public_key, file=self._file)

    def add(self, code: str, label: str) -> Roster:
        """Let peers take part; one that is a member already gets the label.

        code: their ids, with spaces or commas between them. Raises `RosterError`.
        """
        return self._change(code, lambda roster, peer_id: roster.with_member(peer_id, label))

    def remove(self, code: str) -> Roster:
        """Let peers take part no more. code: as in `add`. Raises `RosterError`."""
        return self._change(code, lambda roster, peer_id: roster.without_member(peer_id))

    def _change(self, code: str, change: Callable[[Roster, str], Roster]) -> Roster:
        peer_ids = peer_ids_in(code)
        if not peer_ids:
            raise RosterError(
                _("no peer id was given."),
                field="peer_id",
                remedy=_("Paste the code that the member's app shows: Qm… or 12D3KooW…"),
            )
        with _alone(self._file):
            admission = self._admission()
            before = roster = admission.roster
            for peer_id in peer_ids:
                roster = change(roster, peer_id)
            if roster == before:
                return roster
            body = body_of(roster)
            admission.keep(self._key.sign(to_sign(body, self._run_id)) + body)
            return roster


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """No other process of ours changes the roster meanwhile: one change would undo another.

    Raises `RosterError` when the file can't be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise RosterError(
            _("the roster can't be written: {reason}.").format(reason=error.strerror or error),
            field=str(file),
            remedy=_("Make the folder writable."),
        ) from error


def runs_of(key: MachineKey, folder: Path) -> tuple[str, ...]:
    """The closed runs that a key organises: those whose rosters it has signed."""
    return tuple(
        file.stem
        for file in sorted(folder.glob("*.roster"))
        if Members(key, run_id=file.stem, file=file).roster.serial
    )
