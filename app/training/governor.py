"""Compares the volunteer's terms with the machine's condition, as long as the app runs."""

import asyncio
import logging
import math
import time
from collections.abc import Callable

from app.common.background import Background, survived
from app.common.subscription import Subscription, subscribed
from app.state.events import TermsJudged, TermsLifted
from app.state.store import Store
from app.terms.sensors.sensors import Sensors
from app.terms.terms import verdict

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two verdicts. With the sensors' time limit and a step of training, a pause takes effect
in less than two seconds."""


class Governor:
    """Judges once a second from `open` to `close`, and calls its listeners after each verdict.

    sensors: measure the machine; the governor closes them.
    """

    def __init__(self, store: Store, *, sensors: Sensors) -> None:
        self._store = store
        self._sensors = sensors
        self._listeners: list[Callable[[], None]] = []
        self._looking = asyncio.Lock()
        self._lift_ends = math.inf  # by the monotonic clock, which nobody sets back
        self._background = Background()
        self._watching: asyncio.Task[None] | None = None

    def subscribe(self, listener: Callable[[], None]) -> Subscription:
        """Call ``listener`` after each verdict, once the state has it."""
        return subscribed(self._listeners, listener)

    def open(self) -> None:
        """Begin to judge."""
        self._watching = self._background.start(self._watch())

    async def _watch(self) -> None:
        while True:
            with survived(log, "the terms could not be judged"):
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Judge now, for instance because the terms have changed."""
        async with self._looking:  # each verdict follows from the one before
            terms = self._store.settings.terms
            conditions = await self._sensors.look(terms, self._store.state.chosen_devices)
            judged = verdict(terms, conditions, self._store.state.verdict)
            if (until := self._lifted_until()) is not None:
                judged = judged.lifted(until)
            self._store.dispatch(TermsJudged(terms=terms, verdict=judged))
        for listener in tuple(self._listeners):
            listener()

    async def lift(self, seconds: float) -> None:
        """Let this machine train for some seconds in spite of the terms of convenience."""
        self._lift_ends = time.monotonic() + seconds
        self._store.dispatch(TermsLifted(until=time.time() + seconds))
        await self.look()

    def _lifted_until(self) -> float | None:
        until = self._store.state.lifted_until
        if until is not None and (time.time() >= until or time.monotonic() >= self._lift_ends):
            self._store.dispatch(TermsLifted(until=None))
            return None
        return until

    async def close(self) -> None:
        """End judging. May be called twice."""
        await self._background.close()
        await self._sensors.close()
