"""Whom we know of the swarm, and where: what we come back by when the network was gone."""

from collections.abc import Iterable

from app.p2p.meeting import by_peer
from app.p2p.network import on_this_machine
from app.p2p.sightings import PeerInfo

MOST = 32


class Contacts:
    """The peers we entered by, and those that we were connected to last, on other machines.

    connected: ids of those that we are connected to now.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = by_peer(entries)
        self._met: dict[str, list[str]] = {}
        self.connected: tuple[str, ...] = ()

    def look(self, peers: Iterable[PeerInfo], own: Iterable[str]) -> bool:
        """Take note of who is connected. own: our addresses.

        False when nobody on another machine is, although we know some: we have lost the network,
        or they have all left, which from here looks the same.
        """
        own = tuple(own)
        others = [peer for peer in peers if not on_this_machine(peer.address, own)]
        self.connected = tuple(peer.peer_id for peer in others)
        for peer in others:
            self._met.pop(peer.peer_id, None)  # to the end, with the latest
            self._met[peer.peer_id] = [f"{peer.address}/p2p/{peer.peer_id}"]
        for peer_id in tuple(self._met)[:-MOST]:
            del self._met[peer_id]
        return bool(others) or not self.addresses(own)

    def addresses(self, own: Iterable[str]) -> dict[str, list[str]]:
        """Where to call, by peer id."""
        own = tuple(own)
        known = {
            peer_id: [one for one in places if not on_this_machine(one, own)]
            for peer_id, places in (self._entries | self._met).items()
        }
        return {peer_id: places for peer_id, places in known.items() if places}
