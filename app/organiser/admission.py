"""Who may take part in a run: everybody, or the members on its organiser's roster.

Every process that lets peers in has an `Admission`: the app, a door, the trainer, and the processes
that hivemind forks from it. The newest roster lies in a file; each of them looks whether the file
has changed, so a new roster takes effect everywhere within `LOOK_SECONDS`, without a message.
"""

import logging
import time
from pathlib import Path

from app.common.paths import write_atomically
from app.organiser.roster import MOST_BYTES, NOBODY, Roster, raw_ids, raw_peer_id, unseal

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""The shortest time between two looks at the file."""


class Admission:
    """Who may take part in one run.

    An open swarm has no organiser key: then everybody may. In a closed one nobody may before there
    is a roster. Once a roster is known here, none with a lower serial number counts any more.
    """

    def __init__(
        self, *, run_id: str = "", organiser_key: str = "", file: Path | None = None
    ) -> None:
        """organiser_key: public, in base64; "" for an open swarm. file: of the newest roster."""
        self._run_id = run_id
        self._organiser_key = organiser_key
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._look_at = 0.0
        self._sealed = b""
        self._roster = NOBODY
        self._ids: frozenset[bytes] = frozenset()
        self._opened: tuple[bytes, Roster] = b"", NOBODY

    @property
    def is_closed(self) -> bool:
        """Only members may take part."""
        return bool(self._organiser_key)

    def may_join(self, peer_id: str | bytes) -> bool:
        """Whether a peer may take part. peer_id: in base58 or as bytes; anything else may not."""
        if not self.is_closed:
            return True
        self._look()
        raw = raw_peer_id(peer_id) if isinstance(peer_id, str) else peer_id
        return raw in self._ids

    @property
    def roster(self) -> Roster:
        """The newest roster that is known here; serial 0 for none."""
        self._look()
        return self._roster

    @property
    def sealed(self) -> bytes:
        """The same, sealed; b"" for none."""
        self._look()
        return self._sealed

    def opened(self, sealed: bytes) -> Roster | None:
        """A sealed roster if the organiser signed it for this run, and it isn't older than the one
        that is known here; else None."""
        if sealed != self._opened[0]:
            found = unseal(
                sealed,
                organiser_key=self._organiser_key,
                run_id=self._run_id,
                least_serial=max(1, self._roster.serial),
            )
            if found is None:
                return None
            self._opened = sealed, found
        opened = self._opened[1]
        return opened if opened.serial >= max(1, self._roster.serial) else None

    def keep(self, sealed: bytes) -> bool:
        """Put a newer roster into the file, for all processes; False for any other bytes.

        Raises `OSError` when the file can't be written.
        """
        self._look(at_once=True)
        if self._file is None or not self._adopt(sealed):
            return False
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self._file, sealed)
        return True

    def _look(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._file is None or (now < self._look_at and not at_once):
            return
        self._look_at = now + LOOK_SECONDS
        try:
            found = self._file.stat()
            seen = found.st_mtime_ns, found.st_size, found.st_ino
            if seen == self._seen:
                return
            with self._file.open("rb") as stream:
                sealed = stream.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("the roster %s can't be read: %s", self._file, error)
            return
        self._seen = seen
        if not self._adopt(sealed) and sealed != self._sealed:
            log.warning("%s holds no newer roster of this swarm's organiser", self._file)

    def _adopt(self, sealed: bytes) -> bool:
        roster = self.opened(sealed)
        if roster is None or roster.serial <= self._roster.serial:
            return False
        log.info("roster %d has %d members", roster.serial, len(roster.members))
        self._sealed, self._roster = sealed, roster
        self._ids = raw_ids(roster.members)
        return True


OPEN = Admission()
"""Of a swarm without a roster: everybody may take part."""
