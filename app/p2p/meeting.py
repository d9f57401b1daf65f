"""Calling peers by their addresses, so that their networks and ours become one.

Peers that enter by different doors are in two separate networks until some peer knows both doors
(hivemind#624): each part then trains alone under the same name. A peer that calls all doors joins
the networks.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from app.p2p import calls
from app.p2p.calls import CALL_SECONDS, CallError


def by_peer(addresses: Iterable[str]) -> dict[str, list[str]]:
    """Multiaddrs by the id of their peer. A peer may have several, in different networks."""
    found: dict[str, list[str]] = {}
    for address in addresses:
        _place, peer_id = calls.split(address)
        found.setdefault(peer_id or address, []).append(address)
    return found


async def meet(node: Any, peers: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Call peers, all at once; returns the ids of those that answered.

    node: a `DHTNode`. peers: multiaddrs by peer id; without any, the network is searched for the
    peer.
    """
    answers = await asyncio.gather(*(_call(node, *each) for each in peers.items()))
    return frozenset(peer_id for peer_id, answered in zip(peers, answers, strict=True) if answered)


async def _call(node: Any, peer_id: str, addresses: Iterable[str]) -> bool:
    if peer_id == node.peer_id.to_base58():
        return True
    try:
        async with calls.within(CALL_SECONDS, peer_id=peer_id):
            await calls.connect(node.p2p, peer_id, addresses)
            return await calls.ping(node, peer_id)
    except CallError:
        return False
