"""Holds the state that one donor sends against that of others, piece by piece.

Two honest peers of a run have the same parameters up to rounding and some steps of the optimizer.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import numpy as np
from hivemind.p2p import PeerID

from app.common.background import end
from app.p2p.calls import CallError
from app.p2p.states.download import DonorCalls, DonorError, OtherModelError, WireLayout

log = logging.getLogger(__name__)

APART = 0.1
"""The same parameters of two honest peers may differ by this part of their norm, and by what
`STEPS_APART` steps of the optimizer move."""

STEPS_APART = 10

STEPS_AN_EPOCH = 100
"""Optimizer steps between two rounds, at most, where peers take steps of their own."""

MOST_AHEAD = 10
"""Epochs that a donor may be ahead of what the run's records said last."""

PIECES = 32
"""That a second donor is asked for, at random places of the parameters."""

PIECE_BYTES = 8192

ENOUGH = 3
"""Donors that are asked at once. When as many have answered, a majority of them decides. Each
copies its whole state for an answer."""

BESIDE_SECONDS = 8.0
"""After which as many more are asked beside those that are silent. One that fails is replaced at
once."""

OPINION_SECONDS = 20.0
"""After which `ENOUGH` answers will do as they are, and fewer if they agree. A slow donor counts
beyond it where too few others answer."""

_CHECKED_BYTES = 2**20


def random_pieces(parameters_end: int) -> list[tuple[int, int]]:
    """Ranges of bytes of the parameters that a donor can't foresee.

    parameters_end: offset after the last byte of the parameters, which are float32.
    """
    values = parameters_end // 4
    each = min(values, PIECE_BYTES // 4)
    choose = random.SystemRandom().randint
    begins = (4 * choose(0, values - each) for _ in range(PIECES))
    return [(begin, begin + 4 * each) for begin in begins]


def are_finite(content: Sequence[int], parameters_end: int) -> bool:
    """Whether all parameters of a state are. content: its bytes."""
    for begin in range(0, parameters_end, _CHECKED_BYTES):
        end = min(begin + _CHECKED_BYTES, parameters_end)
        if not np.isfinite(np.frombuffer(bytes(content[begin:end]), dtype="<f4")).all():
            return False
    return True


def are_near(ours: bytes, theirs: bytes, *, epochs: int, step_size: float) -> bool:
    """Whether two donors' pieces can be of one run.

    epochs: how many lie between them. step_size: how far a step of the optimizer may move a
    parameter (root mean square).
    """
    one, other = (np.frombuffer(each, dtype="<f4").astype(np.float64) for each in (ours, theirs))
    norms = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    most = APART * min(norms) + (epochs + STEPS_APART) * step_size * len(one) ** 0.5
    return bool(np.linalg.norm(one - other) <= most)  # False for values that aren't finite


async def opinions(
    calls: DonorCalls,
    peers: Iterable[PeerID],
    *,
    layout: WireLayout,
    content: Sequence[int],
    epoch: int,
    step_size: float,
) -> tuple[int, int]:
    """How many other donors hold the same state as this one, and how many another, of those that
    were asked until enough had answered.

    content: the bytes of the state. epoch: that it is of.
    """
    ranges = random_pieces(layout.parameters_end)
    ours = b"".join(bytes(content[begin:end]) for begin, end in ranges)

    async def agrees(peer: PeerID) -> bool | None:
        """None for a donor without an opinion."""
        try:
            its_epoch, theirs = await calls.sample(peer, layout, ranges)
        except OtherModelError as error:  # or else a layout that nobody has would meet no other
            log.info("%s holds another state: %s", peer, error)
            return False
        except (DonorError, CallError) as error:
            log.info("%s doesn't show its state: %s", peer, error)
            return None
        if not np.isfinite(np.frombuffer(theirs, dtype="<f4")).all():
            log.info("%s holds values that are not finite", peer)
            return None
        return are_near(ours, theirs, epochs=abs(its_epoch - epoch), step_size=step_size)

    agree, differ = await _counted(agrees, peers)
    if differ:
        log.warning("of other donors, %d hold the same state and %d another", agree, differ)
    return agree, differ


async def _counted(
    agrees: Callable[[PeerID], Coroutine[Any, Any, bool | None]], peers: Iterable[PeerID]
) -> tuple[int, int]:
    """How many peers agree and how many don't. The first few are looked at together: else whoever
    answers fastest would decide."""
    began = time.monotonic()
    waiting = deque(peers)
    asked: set[asyncio.Task[bool | None]] = set()
    agree = differ = 0
    more = ENOUGH
    try:
        while waiting or asked:
            while waiting and more:
                asked.add(asyncio.create_task(agrees(waiting.popleft())))
                more -= 1
            done, asked = await asyncio.wait(asked, timeout=BESIDE_SECONDS)
            opinions = [each.result() for each in done]
            more = opinions.count(None) if done and asked else ENOUGH
            agree, differ = agree + opinions.count(True), differ + opinions.count(False)
            is_late = time.monotonic() - began >= OPINION_SECONDS
            is_enough = agree + differ >= ENOUGH
            if (is_late and is_enough) or (agree > differ and (is_late or is_enough)):
                break
    finally:
        await end(*asked)
    return agree, differ
