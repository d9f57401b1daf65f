"""Who gives the state of a run away, and how they are called without an averager of our own."""

import random
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

from hivemind.p2p import P2PContext, PeerID, ServicerBase

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]

from app.p2p import calls

MOST_DONORS = 50

DonorId = PeerID
"""By which a donor is called, for those who know nothing else of hivemind."""


def namespace_of(run_id: str) -> str:
    """hivemind's name for the averagers of a run's state."""
    return f"{run_id}_state_averager"


def donors_key(run_id: str) -> str:
    """The key of the DHT under which donors offer a run's state."""
    return f"{namespace_of(run_id)}.all_averagers"


def ranked(offered: Any, *, own: PeerID, epoch: int) -> list[PeerID]:
    """Those that claim the swarm's epoch, in random order, then those behind it, without ourselves.

    offered: what the DHT holds under `donors_key`.
    """
    # A donor gains nothing by claiming more than the swarm's epoch.
    ranks = {
        PeerID(peer): (min(float(entry.value), epoch), random.random())
        for peer, entry in (offered.items() if isinstance(offered, dict) else ())
        if isinstance(entry.value, int | float)
    }
    ranks.pop(own, None)
    return sorted(ranks, key=lambda peer: ranks[peer], reverse=True)[:MOST_DONORS]


async def donors_of(node: Any, run_id: str, *, epoch: int) -> list[PeerID]:
    """The donors of a run, the best first. node: our `DHTNode`. Raises `CallError`."""
    key = donors_key(run_id)
    offered = (await calls.read(node, [key]))[key]
    return ranked(offered, own=node.peer_id, epoch=epoch)


class DonorStub(ServicerBase):
    """Calls a trainer's averager as its own kind does. Its `get_stub` is for `DonorCalls`."""

    @classmethod
    def _get_handle_name(cls, namespace: str | None, method_name: str) -> str:
        return f"{namespace}::TrainingStateAverager.{method_name}"

    async def rpc_send_state(
        self, request: ExpertRequest, context: P2PContext
    ) -> AsyncIterator[ExpertResponse]:
        """Never called here: it names the messages."""
        raise NotImplementedError
        yield ExpertResponse()
