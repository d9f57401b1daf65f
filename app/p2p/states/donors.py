"""Who gives the state of a run away, and how they are called without an averager of our own."""

import logging
import random
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

from hivemind.p2p import P2PContext, PeerID, ServicerBase

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]

from app.p2p import calls
from app.p2p.calls import CallError
from app.p2p.guards.records import speaking
from app.p2p.run_records import progress_key

log = logging.getLogger(__name__)

MOST_DONORS = 50

MOST_STRANGERS = 10
"""Of them, those that don't tell their progress under their own key, as plain hivemind's peers."""

DonorId = PeerID
"""By which a donor is called, for those who know nothing else of hivemind."""


def namespace_of(run_id: str) -> str:
    """hivemind's name for the averagers of a run's state."""
    return f"{run_id}_state_averager"


def donors_key(run_id: str) -> str:
    """The key of the DHT under which donors offer a run's state."""
    return f"{namespace_of(run_id)}.all_averagers"


def ranked(offered: Any, progress: Any, *, own: PeerID, epoch: int) -> list[PeerID]:
    """Those that claim the swarm's epoch, in random order, then those behind it, without ourselves.
    Where trainers that speak for themselves offer their state, they come first.

    offered: what the DHT holds under `donors_key`, which anybody may write. progress: under the
    key of the run's progress.
    """
    # A donor gains nothing by claiming more than the swarm's epoch.
    ranks = {
        PeerID(peer): (min(float(entry.value), epoch), random.random())
        for peer, entry in (offered.items() if isinstance(offered, dict) else ())
        if isinstance(entry.value, int | float)
    }
    ranks.pop(own, None)
    best = sorted(ranks, key=lambda peer: ranks[peer], reverse=True)
    said = progress.items() if isinstance(progress, dict) else ()
    speak = speaking((subkey, entry.value) for subkey, entry in said if entry.value)
    known = [peer for peer in best if peer.to_bytes() in speak]
    if not known:
        return best[:MOST_DONORS]
    strangers = [peer for peer in best if peer.to_bytes() not in speak]
    return known[: MOST_DONORS - MOST_STRANGERS] + strangers[:MOST_STRANGERS]


async def donors_of(node: Any, run_id: str, *, epoch: int) -> list[PeerID]:
    """The donors of a run, the best first. node: our `DHTNode`. Raises `CallError`."""
    offers, progress_of = donors_key(run_id), progress_key(run_id)
    offered = (await calls.read(node, [offers]))[offers]
    try:
        progress = (await calls.read(node, [progress_of]))[progress_of]
    except CallError as error:  # a long dictionary, which anybody may make longer
        log.info("the donors can't be told from strangers: %s", error)
        progress = None
    return ranked(offered, progress, own=node.peer_id, epoch=epoch)


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
