"""One exchange of what was learnt, beside computing; and what gives the outcome to newcomers."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from hivemind.compression import NoCompression

from app.p2p.sightings import PartFault
from app.protocol import MemberAtFault
from app.spec import rounds
from app.spec.schema import SwarmSpec
from app.trainer.averaging.averagers import CountingStateAverager
from app.trainer.averaging.guard import StateBounds
from app.trainer.averaging.guarded_allreduce import RoundGuard
from app.trainer.averaging.offences import Offences
from app.trainer.exchange.exchange import BlobExchange, Exchange, ExchangeError, Swap
from app.trainer.local_steps.believing import BASE_BYTES, believed
from app.trainer.local_steps.codec import Codec
from app.trainer.local_steps.residual import Residual
from app.trainer.peer.peer import TrainerPeer
from app.trainer.strategies.protocols import StrategyPlace

log = logging.getLogger(__name__)


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
    everybody: int
    """Samples of all peers in the epoch, as far as their records say."""

    expected: frozenset[str]
    """Peer ids (base58) of the other trainers."""

    began: float
    """Monotonic time."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a round brought."""

    swap: Swap
    mean: list[torch.Tensor]
    """Of what the members learnt: float32, on the CPU."""

    agrees: bool
    """Our outer weights are those of most members."""

    faults: dict[str, PartFault]
    """By peer id: why a member's part did not count."""


class Round(threading.Thread):
    """Runs from `start` until `is_over`. The outer weights must not change meanwhile."""

    def __init__(
        self,
        sent: Sent,
        outer: Sequence[torch.Tensor],
        *,
        recipe: Recipe,
        exchange: Exchange,
    ) -> None:
        """outer: float32, on the CPU."""
        super().__init__(name="round", daemon=True)
        self.sent = sent
        self._outer = outer
        self._recipe = recipe
        self._exchange = exchange
        self._outcome: Future[Outcome] = Future()

    @property
    def is_over(self) -> bool:
        """`outcome` returns at once."""
        return self._outcome.done()

    def outcome(self) -> Outcome:
        """What it brought. Raises `ExchangeError`: it failed, and nothing has changed."""
        return self._outcome.result()

    def run(self) -> None:
        """In this thread."""
        try:
            self._outcome.set_result(self._exchanged())
        except ExchangeError as error:
            self._outcome.set_exception(error)
        except Exception as error:  # the boundary of this thread; training goes on
            log.exception("a round failed")
            self._outcome.set_exception(ExchangeError(f"{type(error).__name__}: {error}"))

    @torch.no_grad()
    def _exchanged(self) -> Outcome:
        sent, codec, residual = self.sent, self._recipe.codec, self._recipe.residual
        learnt = [outer - own for outer, own in zip(self._outer, sent.weights, strict=True)]
        before = residual.state_dict() if residual is not None else {}
        encoded = codec.encode(residual.add(learnt) if residual is not None else learnt)
        base = digest_of(self._outer)
        try:
            swap = self._exchange.swap(
                epoch=sent.epoch,
                blob=base + encoded.blob,
                weight=float(sent.samples),
                expected=sent.expected,
            )
        except ExchangeError:
            if residual is not None:
                residual.load_state_dict(before)
            raise
        if residual is not None and swap.included:
            residual.take(encoded.decoded)
        found = believed(swap.contributions, codec=codec, base=base)
        return Outcome(swap=swap, mean=found.mean, agrees=found.agrees, faults=found.faults)


def blob_exchange(place: StrategyPlace) -> Callable[[Codec], Exchange]:
    """What makes the exchange of a run's blobs from what reads them."""
    spec = place.spec
    parameters = sum(each.numel() for each in place.model.parameters())

    def named(peer_id: str, fault: PartFault) -> None:
        place.report(MemberAtFault(peer_id=peer_id, fault=fault, epoch=0, time=time.time()))

    def made(codec: Codec) -> Exchange:
        return BlobExchange(
            dht=place.peer.dht,
            run_id=spec.run_id,
            admission=place.peer.admission,
            check=lambda content: codec.check(content[BASE_BYTES:]),
            most_bytes=BASE_BYTES + codec.most_bytes(),
            most_weight=2.0 * spec.training.target_batch_size,
            on_fault=named,
            gather_seconds=spec.training.averaging.matchmaking_seconds,
            round_seconds=rounds.round_seconds(spec, parameters=parameters),
        )

    return made


def digest_of(tensors: Sequence[torch.Tensor]) -> bytes:
    """Of weights: `BASE_BYTES` that two peers have alike only if they have the same weights."""
    hashing = hashlib.sha256()
    for tensor in tensors:
        hashing.update(tensor.detach().contiguous().view(-1).numpy().data)
    return hashing.digest()[:BASE_BYTES]


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor, as float32 on the CPU."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


def donor_of(
    spec: SwarmSpec,
    peer: TrainerPeer,
    outer: list[torch.nn.Parameter],
    optimizer: Callable[..., torch.optim.Optimizer],
) -> CountingStateAverager:
    """hivemind's averager, which averages nothing here: it gives the outer weights to newcomers."""
    return CountingStateAverager(
        guard=RoundGuard(bounds=StateBounds(), offences=Offences()),
        admission=peer.admission,
        dht=peer.dht,
        prefix=f"{spec.run_id}_state_averager",
        optimizer=optimizer,
        params=outer,
        min_matchmaking_time=spec.training.averaging.matchmaking_seconds,
        request_timeout=min(3.0, spec.training.averaging.matchmaking_seconds / 2),
        state_compression=NoCompression(),
        shutdown_timeout=2.0,
        client_mode=peer.dht.client_mode,
        start=True,
    )
