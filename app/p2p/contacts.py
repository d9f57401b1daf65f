"""The peers that we know and their addresses, by which we come back after the network was gone."""

from collections.abc import Iterable

from app.p2p.meeting import by_peer
from app.p2p.network import on_this_machine
from app.p2p.sightings import PeerInfo

MOST = 32
"""How many connected peers are remembered; the latest are kept."""


class Contacts:
    """The peers by which we entered, and those to which we were connected last."""

    def __init__(self, entries: Iterable[str]) -> None:
        """entries: multiaddrs of the peers by which we entered."""
        self._entries = by_peer(entries)
        self._met: dict[str, list[str]] = {}
        self.connected: tuple[str, ...] = ()
        """Ids of the peers on other machines to which we are connected now."""

    def look(self, peers: Iterable[PeerInfo], own: Iterable[str]) -> bool:
        """Remember the connected peers. own: our own multiaddrs.

        Returns False when no peer on another machine is connected although we know some. Then we
        have lost the network or all have left, which looks the same from here.
        """
        own, peers = tuple(own), tuple(peers)
        others = [peer for peer in peers if not on_this_machine(peer.address, own)]
        self.connected = tuple(peer.peer_id for peer in others)
        for peer in peers:
            self._met.pop(peer.peer_id, None)  # so that it moves to the end
            self._met[peer.peer_id] = [f"{peer.address}/p2p/{peer.peer_id}"]
        for peer_id in tuple(self._met)[:-MOST]:
            del self._met[peer_id]
        return bool(others) or not self.addresses(own)

    def addresses(self, own: Iterable[str]) -> dict[str, list[str]]:
        """The multiaddrs to call, by peer id; those of this machine are left out."""
        own = tuple(own)
        known = {
            peer_id: [one for one in places if not on_this_machine(one, own)]
            for peer_id, places in (self._entries | self._met).items()
        }
        return {peer_id: places for peer_id, places in known.items() if places}

    def everybody(self) -> dict[str, list[str]]:
        """All multiaddrs that we know, by peer id."""
        known = {peer_id: list(places) for peer_id, places in self._entries.items()}
        for peer_id, places in self._met.items():
            known[peer_id] = list(dict.fromkeys((*known.get(peer_id, ()), *places)))
        return known
