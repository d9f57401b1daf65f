"""Calling on peers by their addresses, so that both sides, and their networks, know each other.

Peers that enter by different doors are in two networks until somebody knows both (hivemind#624):
each trains alone then, under the same name. Whoever meets all doors makes them one.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

CALL_SECONDS = 5.0


def by_peer(addresses: Iterable[str]) -> dict[str, list[str]]:
    """The addresses of each peer. A peer may have several, of different networks."""
    found: dict[str, list[str]] = {}
    for address in addresses:
        found.setdefault(address.rpartition("/p2p/")[2], []).append(address)
    return found


async def meet(node: Any, peers: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Call on peers, all at once; returns the ids of those that answered.

    node: a `DHTNode`. peers: addresses by peer id, none for those that the network can find.
    """
    answers = await asyncio.gather(*(_call(node, *each) for each in peers.items()))
    return frozenset(
        peer_id for peer_id, answers_us in zip(peers, answers, strict=True) if answers_us
    )


async def _call(node: Any, peer_id: str, addresses: Iterable[str]) -> bool:
    from hivemind.p2p import PeerID
    from hivemind.utils.multiaddr import Multiaddr

    try:
        peer = PeerID.from_base58(peer_id)
        if peer == node.peer_id:
            return True
        known = [Multiaddr(address.rpartition("/p2p/")[0]) for address in addresses]
        async with asyncio.timeout(CALL_SECONDS):
            await node.p2p._client.connect(peer, known)  # noqa: SLF001
            return await node.protocol.call_ping(peer) is not None
    except Exception:  # noqa: BLE001  hivemind raises what its daemon said
        return False
