"""Decides whether a foreign state is kept.

A state that takes part of the numbers for something else ruins a model in many ways, and a
hostile one hides it: values that aren't finite, weights that compute nonsense, or statistics that
throw the weights far away with the first step. So the state is tried, on a batch of ours, as it
comes and after a step with a gradient of zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from hivemind.p2p import PeerID

from app.p2p.states.comparing import APART, STEPS_APART
from app.trainer.joining.layout import StateLayout

WORSE = 1.1
"""A state is refused when its loss is more than this many times our own, plus `WORSE_NATS`."""

WORSE_NATS = 0.1

MOST_STEPS_AHEAD = 20
"""An optimizer's count of steps may be this much above the swarm's epoch."""

STEPS_UNCOUNTED = 100
"""Epochs that a state may be ahead of twice its count of steps."""


class LocalState(Protocol):
    """What a newcomer puts the swarm's state into."""

    @property
    def layout(self) -> StateLayout:
        """Of `tensors`."""

    @property
    def tensors(self) -> Sequence[torch.Tensor]:
        """The live ones: parameters, then the optimizer's statistics."""

    @property
    def step_size(self) -> float:
        """How far an optimizer step may move a parameter (root mean square)."""

    def loss(self) -> float:
        """Of the model as it is, on a batch that is the same each time (nats per token)."""

    def trial_step(self) -> None:
        """Take an optimizer step with a gradient of zero."""


@dataclass(kw_only=True, eq=False)
class StateOffer:
    """A state that was downloaded."""

    givers: set[PeerID]
    epoch: int
    tensors: list[torch.Tensor]
    content: bytes | bytearray
    """Of the layout."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How offers did."""

    best: StateOffer | None
    """The one that is loaded now; None where our own state is."""

    bad: list[StateOffer]
    """Those that are worse than our own state."""

    own: float
    """The loss of our own state."""

    most: float
    """The loss above which an offer is bad."""


@torch.no_grad()
def judge(state: LocalState, offers: Sequence[StateOffer], *, epoch: int) -> Judgement:
    """Load the offer with the lowest loss, unless all are bad. epoch: the swarm's."""
    kept = [_copied(tensor) for tensor in state.tensors]
    own = state.loss()
    most = WORSE * own + WORSE_NATS if math.isfinite(own) else math.inf
    losses = {offer: _loss_of(offer, state, epoch=epoch) for offer in offers}
    bad = [offer for offer, loss in losses.items() if loss > most or math.isinf(loss)]
    good = [offer for offer in offers if offer not in bad]
    best = min(good, key=losses.__getitem__, default=None)
    _load(kept if best is None else best.tensors, into=state.tensors)
    return Judgement(best=best, bad=bad, own=own, most=most)


def _loss_of(offer: StateOffer, state: LocalState, *, epoch: int) -> float:
    """The worse of the losses as the state comes and after a step; infinite for what can't be a
    state of this run. Leaves the model with it."""
    parameters = state.tensors[: state.layout.parameters]
    if not _is_plausible(offer, len(parameters), epoch):
        return math.inf
    _load(offer.tensors, into=state.tensors)
    as_it_comes = state.loss()
    before = [_copied(parameter) for parameter in parameters]
    state.trial_step()
    for old, new in zip(before, parameters, strict=True):
        if not _are_near(old, new.cpu(), step_size=state.step_size):
            return math.inf
    worse = max(as_it_comes, state.loss())
    return worse if math.isfinite(worse) else math.inf


def _is_plausible(offer: StateOffer, parameters: int, epoch: int) -> bool:
    if not all(bool(torch.isfinite(each).all()) for each in offer.tensors):
        return False
    steps = [float(each) for each in offer.tensors[parameters:] if each.numel() == 1]
    return all(0.0 <= step <= epoch + MOST_STEPS_AHEAD for step in steps)


def fits_its_epoch(offer: StateOffer, *, parameters: int) -> bool:
    """Whether a state can be as far as it says, as far as its optimizer counts steps (as Adam does
    for each parameter): there is one in an epoch, and few that a peer has not taken itself.

    parameters: how many of its tensors are.
    """
    steps = [float(each) for each in offer.tensors[parameters:] if each.dim() == 0]
    return len(steps) < parameters or offer.epoch <= 2 * max(steps) + STEPS_UNCOUNTED


def _load(tensors: Sequence[torch.Tensor], *, into: Sequence[torch.Tensor]) -> None:
    for mine, given in zip(into, tensors, strict=True):
        mine.copy_(given)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """On the CPU: a device that the training fits needn't have room for more of it."""
    return tensor.detach().to("cpu", copy=True)


def _are_near(one: torch.Tensor, other: torch.Tensor, *, step_size: float) -> bool:
    norms = float(one.norm()), float(other.norm())
    most = APART * min(norms) + STEPS_APART * step_size * one.numel() ** 0.5
    return bool((one - other).norm() <= most)  # False for values that aren't finite
