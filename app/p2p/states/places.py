"""Who may download from us at the same time."""

import math
import time
from collections.abc import Collection
from dataclasses import dataclass

from hivemind.p2p import PeerID

from app.p2p.states.download import BRISK, SLOWEST

MOST_DOWNLOADS = 8
"""At the same time, by different peers."""

TRIAL_SECONDS = 60.0
"""After which a peer loses its place to another one, if it takes less than `BRISK`; it goes on
where it was when a place is free again. One below `SLOWEST` only pretends to read."""


@dataclass(kw_only=True, eq=False)
class DownloadPlace:
    """A place among `MOST_DOWNLOADS`."""

    since: float
    """When what is counted began (monotonic time)."""

    taken: int = 0
    """Bytes since then."""

    before: float = math.inf
    """Bytes a second, in the last `TRIAL_SECONDS` that are over."""


class DownloadPlaces:
    """The places, by peer."""

    def __init__(self) -> None:
        self._places: dict[PeerID, DownloadPlace] = {}

    def __len__(self) -> int:
        return len(self._places)

    def take(self, peer: PeerID) -> DownloadPlace | None:
        """A place for a peer; None when there is none left, or when it has one."""
        places = self._places
        if peer in places:
            return None
        if len(places) >= MOST_DOWNLOADS:
            slowest = min(places, key=lambda each: _rate(places[each]))
            if _rate(places[slowest]) >= BRISK:
                return None
            del places[slowest]
        places[peer] = DownloadPlace(since=time.monotonic())
        return places[peer]

    def any_reads(self, among: Collection[DownloadPlace]) -> bool:
        """Whether one of these places is still taken, by a peer that takes `SLOWEST` of late."""
        return any(each in among and _rate(each) >= SLOWEST for each in self._places.values())

    def is_kept(self, peer: PeerID, place: DownloadPlace, *, size: int) -> bool:
        """Whether a peer still has its place. size: bytes that it has taken since it was asked."""
        place.taken += size
        now = time.monotonic()
        if now - place.since >= TRIAL_SECONDS:
            place.before = place.taken / (now - place.since)
            place.since, place.taken = now, 0
        return self._places.get(peer) is place

    def give_back(self, peer: PeerID, place: DownloadPlace) -> bool:
        """The download has ended; False when another peer has got the place meanwhile."""
        if self._places.get(peer) is not place:
            return False
        del self._places[peer]
        return True


def _rate(place: DownloadPlace) -> float:
    """Bytes a second, of late; what nobody can be blamed for at first."""
    elapsed = time.monotonic() - place.since
    if elapsed >= TRIAL_SECONDS:
        return place.taken / elapsed
    return place.before
