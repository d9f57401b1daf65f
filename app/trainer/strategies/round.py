"""One exchange of what was learnt, beside computing."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from app.common.background import survived
from app.common.i18n import _
from app.protocol import RoundEnded
from app.spec.costs import rounds
from app.spec.schema import SwarmSpec
from app.trainer.averaging.offences import Naming, Offence
from app.trainer.averaging.tracker import PacedTracker
from app.trainer.exchange.exchange import (
    BlobExchange,
    Exchange,
    ExchangeError,
    InterruptedRoundError,
    Swap,
)
from app.trainer.local_steps.believing import BASE_BYTES, believed
from app.trainer.local_steps.codec import Codec
from app.trainer.local_steps.residual import Residual
from app.trainer.strategies.outer_weights import digest_of
from app.trainer.strategies.protocols import StrategyPlace

log = logging.getLogger(__name__)

ROOM = 4.0
"""Times the steps that an optimizer takes where all gradients point the same way: for weight decay,
and for what was not sent in the rounds before."""

ALONE_SECONDS = 5.0
"""How long the others may take to tell of a round to which none of them came: what they have had
they can tell at once."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """In what `diloco` and `sparseloco` differ."""

    codec: Codec
    residual: Residual | None
    """What was not sent yet; None where all is sent each time."""

    outer_momentum: float


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What a round carries."""

    epoch: int
    weights: list[torch.Tensor]
    """The model's when it was sent: float32, on the CPU."""

    samples: int

    weight: float
    """In samples; at most what the others believe."""

    everybody: int
    """Samples of all peers in the epoch, as far as their records say."""

    expected: frozenset[str]
    """Peer ids (base58) of the other trainers."""

    callable: frozenset[str]
    """Those of them that can be called."""

    began: float
    """Monotonic time."""

    def ended(self, *, peers: int, samples: int, failure: str, bytes_sent: int) -> RoundEnded:
        """The report of the round's end, which is now."""
        return RoundEnded(
            epoch=self.epoch,
            peers=peers,
            seconds=time.monotonic() - self.began,
            samples=samples,
            failure=failure,
            bytes_sent=bytes_sent,
        )


@dataclass(frozen=True, kw_only=True)
class Exchanged:
    """What a round brought."""

    mean: list[torch.Tensor]
    """Of what the members learnt: float32, on the CPU."""

    members: int
    """This peer included."""

    counts: bool
    """What we learnt is in the mean."""

    agrees: bool
    """Our outer weights are those of most members."""


class LocalRound(threading.Thread):
    """Runs from `start` until `is_over`. The outer weights must not change meanwhile."""

    def __init__(
        self,
        sent: Sent,
        outer: Sequence[torch.Tensor],
        *,
        peer_id: str,
        recipe: Recipe,
        exchange: Exchange,
        farthest: float,
    ) -> None:
        """outer: float32, on the CPU. peer_id: ours, in base58. farthest: as `believed` has it."""
        super().__init__(name="round", daemon=True)
        self.sent = sent
        self._outer = outer
        self._peer_id = peer_id
        self._recipe = recipe
        self._exchange = exchange
        self._farthest = farthest
        self._brought: Future[Exchanged] = Future()

    @property
    def is_over(self) -> bool:
        """`brought` returns at once."""
        return self._brought.done()

    def brought(self) -> Exchanged:
        """What it brought. Raises `ExchangeError`: it failed, and nothing has changed."""
        return self._brought.result()

    def run(self) -> None:
        """In this thread."""
        with survived(log, "a round failed"):
            try:
                self._brought.set_result(self._exchanged())
            except ExchangeError as error:
                self._brought.set_exception(error)
        if not self._brought.done():
            self._brought.set_exception(ExchangeError(_("it failed by itself; see the log")))

    @torch.no_grad()
    def _exchanged(self) -> Exchanged:
        sent, codec, residual = self.sent, self._recipe.codec, self._recipe.residual
        learnt = [outer - own for outer, own in zip(self._outer, sent.weights, strict=True)]
        with contextlib.ExitStack() as unless_it_succeeds:
            if residual is not None:
                unless_it_succeeds.callback(residual.load_state_dict, residual.state_dict())
            encoded = codec.encode(learnt if residual is None else residual.add(learnt))
            base = digest_of(self._outer)
            blob = base + encoded.blob
            swap = self._swapped(blob)
            found = believed(swap.contributions, codec=codec, base=base, farthest=self._farthest)
            self._exchange.judge(
                swap, {each: why for each, why in found.faults.items() if each != self._peer_id}
            )
            if found.agrees:
                unless_it_succeeds.pop_all()
        # by the blob too: a round that we are told of may have one of before a restart
        own = self._peer_id, blob
        ours = any((each.peer_id, each.blob) == own for each in swap.contributions)
        counts = ours and self._peer_id not in found.faults
        if residual is not None and found.agrees and counts:
            residual.take(encoded.decoded)
        return Exchanged(
            mean=found.mean,
            members=len({self._peer_id, *(each.peer_id for each in swap.contributions)}),
            counts=counts,
            agrees=found.agrees,
        )

    def _swapped(self, blob: bytes) -> Swap:
        """What the round brought to the others, even where it failed for us, or we were alone in
        it: else we would have other weights than they, and have to download theirs."""
        sent = self.sent
        try:
            swap = self._exchange.swap(
                epoch=sent.epoch, blob=blob, weight=sent.weight, expected=sent.expected
            )
        except InterruptedRoundError:
            raise
        except ExchangeError as error:
            log.info("the round of epoch %d failed for us: %s", sent.epoch, error)
            if told := self._told():
                return told
            raise
        if sent.expected and _are_all_by(self._peer_id, swap):
            told = self._told(ALONE_SECONDS)
            return swap if told is None else max(told, swap, key=_precedence)
        return swap

    def _told(self, seconds: float | None = None) -> Swap | None:
        """What the others say of the round; None where they know no more than we."""
        try:
            told = self._exchange.fetch(
                epoch=self.sent.epoch, members=self.sent.callable, seconds=seconds
            )
        except InterruptedRoundError:
            raise
        except ExchangeError:
            return None
        return None if _are_all_by(self._peer_id, told) else told

    def stop(self) -> None:
        """Leave the round, and wait until it is over."""
        while self.is_alive():
            self._exchange.interrupt()
            self.join(0.5)


def _are_all_by(peer_id: str, swap: Swap) -> bool:
    return all(each.peer_id == peer_id for each in swap.contributions)


def _precedence(swap: Swap) -> tuple[int, float, list[str]]:
    """Of two lists of a round, both of which were fixed, all take the greater one."""
    weight = math.fsum(each.weight for each in swap.contributions)
    return len(swap.contributions), weight, [each.peer_id for each in swap.contributions]


def most_weight(spec: SwarmSpec) -> float:
    """In samples: a peer goes on computing while a round is prepared, and so beyond the target."""
    return 2.0 * spec.training.target_batch_size


def farthest(spec: SwarmSpec, *, parameters: int) -> float:
    """The norm that what a peer learnt in a round can have, with room: what is beyond it nobody
    learnt, even where no other member is there to compare it with. parameters: of the model."""
    training, options = spec.training, spec.training.local_steps
    assert options is not None
    step = training.optimizer.learning_rate * math.sqrt(parameters)  # of AdamW; Muon's is as large
    if training.optimizer.name == "sgd":
        way = options.max_grad_norm / (1.0 - training.optimizer.momentum)
        step = training.optimizer.learning_rate * way
    return ROOM * step * math.ceil(most_weight(spec) / options.local_batch_size)


MakeExchange = Callable[[Codec, PacedTracker], Exchange]
"""From what reads the blobs, and what counts the samples of their peers."""


def blob_exchange(place: StrategyPlace) -> MakeExchange:
    """What makes the exchange of a run's blobs."""
    spec = place.spec
    parameters = sum(each.numel() for each in place.parameters)

    naming = Naming(place.report)

    def made(codec: Codec, tracker: PacedTracker) -> Exchange:
        def named(epoch: int, offence: Offence) -> None:
            naming.name(offence, what="updates", epoch=epoch)
            if offence.evicted_until is not None:
                tracker.leave_out(offence.peer_id, until=offence.evicted_until)

        return BlobExchange(
            dht=place.peer.dht,
            run_id=spec.run_id,
            admission=place.peer.admission,
            check=lambda content: codec.check(content[BASE_BYTES:]),
            most_bytes=BASE_BYTES + codec.most_bytes(),
            most_weight=most_weight(spec),
            on_fault=named,
            gather_seconds=spec.training.averaging.matchmaking_seconds,
            round_seconds=rounds.round_seconds(spec, parameters=parameters),
        )

    return made
