"""Commands to running trainers: pause or resume, and how much device time and bandwidth to use."""

import contextlib

from app import protocol
from app.common.errors import TrainerError
from app.protocol import LONG_PAUSE_SECONDS
from app.state.state import ContributorState
from app.state.store import ReadableStore
from app.terms.terms import MBIT
from app.training.ensemble import Ensemble

NEEDS_DEVICE = frozenset({"programs", "max_others_use"})
"""Terms that mean that another program wants the device now."""


class Reins:
    """Tells trainers that run together, from their start on, and only what has changed."""

    def __init__(self, store: ReadableStore, trainer: Ensemble) -> None:
        self._store = store
        self._trainer = trainer
        self._rest: float | None = None
        self._pace: dict[str, float] = {}

    async def tell_rest(self) -> None:
        """Pause or resume them, as user and terms want now; returns when it took effect."""
        rest = _rest(self._store.state)
        if rest == self._rest:
            return
        self._rest = rest
        with contextlib.suppress(TrainerError):  # `Training._follow` reports how it ended
            if rest is None:
                await self._trainer.command(protocol.Resume)
            else:
                await self._trainer.command(protocol.Pause, free_after=rest)

    async def tell_pace(self) -> None:
        """Send the limits that the terms set now. The trainers share the network limits equally."""
        terms, state = self._store.settings.terms, self._store.state
        devices = len(state.chosen_devices)
        pace = {
            "share": round(state.verdict.share, 2),
            "upload": terms.max_upload * MBIT // devices,
            "download": terms.max_download * MBIT // devices,
        }
        if pace == self._pace:
            return
        self._pace = pace
        with contextlib.suppress(TrainerError):  # `Training._follow` reports how it ended
            await self._trainer.command(protocol.Pace, **pace)


def _rest(state: ContributorState) -> float | None:
    """Seconds after which a paused trainer frees the device's memory; None when it may train."""
    if state.may_train:
        return None
    wanted = any(reason.term in NEEDS_DEVICE for reason in state.verdict.reasons)
    return 0.0 if wanted else LONG_PAUSE_SECONDS
