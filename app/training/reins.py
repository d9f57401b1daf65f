"""What trainers are told while they run: to rest or to go on, and how fast to go."""

import contextlib
from collections.abc import Callable

from app import protocol
from app.common.errors import TrainerError
from app.protocol import LONG_PAUSE_SECONDS
from app.state.state import ContributorState
from app.terms.terms import Terms
from app.training.ensemble import Ensemble

MBIT = 125_000
"""Bytes."""

NEEDS_DEVICE = frozenset({"programs", "max_others_use"})
"""Terms by which somebody else wants the device now."""


class Reins:
    """Of trainers that run together, from their start on. They are told only what is new.

    state: the newest one. terms: those in force.
    """

    def __init__(
        self,
        trainer: Ensemble,
        *,
        state: Callable[[], ContributorState],
        terms: Callable[[], Terms],
    ) -> None:
        self._trainer = trainer
        self._state, self._terms = state, terms
        self._rest: float | None = None
        self._pace: dict[str, float] = {}

    async def tell_rest(self) -> None:
        """Let them rest or go on, as user and terms want now; returns when they do."""
        rest = _rest(self._state())
        if rest == self._rest:
            return
        self._rest = rest
        with contextlib.suppress(TrainerError):  # who follows it tells how it ended
            if rest is None:
                await self._trainer.command(protocol.Resume)
            else:
                await self._trainer.command(protocol.Pause, free_after=rest)

    async def tell_pace(self) -> None:
        """Let them go as fast as the terms want now; they share the line."""
        terms, devices = self._terms(), len(self._state().chosen_devices)
        pace = {
            "share": round(self._state().verdict.share, 2),
            "upload": terms.max_upload * MBIT // devices,
            "download": terms.max_download * MBIT // devices,
        }
        if pace == self._pace:
            return
        self._pace = pace
        with contextlib.suppress(TrainerError):  # who follows it tells how it ended
            await self._trainer.command(protocol.Pace, **pace)


def _rest(state: ContributorState) -> float | None:
    """How long the trainer may keep the device's memory while it rests; None when it needn't
    rest."""
    if state.may_train:
        return None
    wanted = any(reason.term in NEEDS_DEVICE for reason in state.verdict.reasons)
    return 0.0 if wanted else LONG_PAUSE_SECONDS
