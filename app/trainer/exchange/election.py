"""Who leads a round.

All order the peers by a hash of the run, the epoch and the peer's id, so that no peer can choose
to lead, and a dead one is the first of few rounds. The first one that answers leads. A peer that
is asked to lead asks those before it first, so that whoever couldn't reach them ends with the
same leader as the others. Each waits only for peers before it: no circle can come about.

A peer that was asked before its first round declines to lead: it may need minutes until it takes
part. In that round it looks for a leader among all, and makes nobody wait meanwhile. If there is
none, because all have declined, it asks those before it again, and now waits for them.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence

LeaderQuestion = Callable[[str, Sequence[str]], Awaitable[str]]
"""Asks a peer who leads, telling it who before it was silent; returns the peer id of the leader.
Raises `NoAnswerError`."""


class NoAnswerError(Exception):
    """A peer leads nothing, and knows nobody who does."""


class CutOffError(Exception):
    """Others follow a leader whom we can't reach."""


def order(run_id: str, epoch: int, peer_ids: Collection[str]) -> list[str]:
    """Peer ids, the one that should lead first."""
    return sorted(peer_ids, key=lambda peer_id: rank(run_id, epoch, peer_id))


def rank(run_id: str, epoch: int, peer_id: str) -> bytes:
    """The place of a peer in the order of a round: the lowest one leads."""
    return hashlib.sha256(f"{run_id}\n{epoch}\n{peer_id}".encode()).digest()


async def find_leader(
    candidates: Sequence[str], *, ask: LeaderQuestion, rank_of: Callable[[str], bytes]
) -> str | None:
    """The leader, if one of these answers; None if none does. Raises `CutOffError`.

    candidates: in order, all those before us.
    """
    silent: list[str] = []
    for candidate in candidates:
        try:
            leader = await ask(candidate, tuple(silent))
        except NoAnswerError:
            silent.append(candidate)
            continue
        if leader == candidate:
            return leader
        if rank_of(leader) > rank_of(candidate):  # no honest peer follows one behind itself
            silent.append(candidate)
            continue
        return await _confirmed(leader, ask)
    return None


async def _confirmed(leader: str, ask: LeaderQuestion) -> str:
    try:
        if await ask(leader, ()) == leader:
            return leader
    except NoAnswerError:
        pass
    raise CutOffError(leader)
