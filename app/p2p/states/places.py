"""Who may download from us at the same time."""

import time
from dataclasses import dataclass

from hivemind.p2p import PeerID

MOST_DOWNLOADS = 8
"""At the same time, by different peers."""

IDLE_SECONDS = 60.0
"""A peer that takes nothing for as long loses its place when another wants it."""


@dataclass(kw_only=True, eq=False)
class DownloadPlace:
    """A place among `MOST_DOWNLOADS`."""

    active_at: float
    """When the peer took something last (monotonic time)."""


class DownloadPlaces:
    """The places, by peer."""

    def __init__(self) -> None:
        self._places: dict[PeerID, DownloadPlace] = {}

    def __len__(self) -> int:
        return len(self._places)

    def take(self, peer: PeerID) -> DownloadPlace | None:
        """A place for a peer; None when there is none left, or when it has one."""
        now, places = time.monotonic(), self._places
        if len(places) >= MOST_DOWNLOADS:
            longest = min(places, key=lambda each: places[each].active_at)
            if now - places[longest].active_at >= IDLE_SECONDS:
                del places[longest]
        if peer in places or len(places) >= MOST_DOWNLOADS:
            return None
        places[peer] = DownloadPlace(active_at=now)
        return places[peer]

    def is_kept(self, peer: PeerID, place: DownloadPlace) -> bool:
        """Whether a peer still has its place, which is noted as active now."""
        place.active_at = time.monotonic()
        return self._places.get(peer) is place

    def give_back(self, peer: PeerID, place: DownloadPlace) -> bool:
        """The download has ended; False when another peer has got the place meanwhile."""
        if self._places.get(peer) is not place:
            return False
        del self._places[peer]
        return True
