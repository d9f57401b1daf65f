"""Holds the volunteer's terms against what the machine is like, as long as the app runs."""

import asyncio
import logging
from collections.abc import Callable

from app.common.background import Background, survived
from app.state.events import Event, TermsJudged
from app.state.state import ContributorState
from app.terms.sensors.sensors import Sensors
from app.terms.terms import Terms, verdict

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""With the sensors' deadline and a step of training, less than two until a pause."""


class Governor:
    """Judges once a second from `open` to `close`, and lets training obey.

    sensors: ours from now on. terms: those in force. state: the newest one. dispatch: told of each
    verdict. obey: called after it.
    """

    def __init__(
        self,
        *,
        sensors: Sensors,
        terms: Callable[[], Terms],
        state: Callable[[], ContributorState],
        dispatch: Callable[[Event], None],
        obey: Callable[[], None],
    ) -> None:
        self._sensors = sensors
        self._terms, self._state = terms, state
        self._dispatch, self._obey = dispatch, obey
        self._looking = asyncio.Lock()
        self._background = Background()
        self._watching: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to judge."""
        self._watching = self._background.start(self._watch())

    async def _watch(self) -> None:
        while True:
            with survived(log, "the terms could not be judged"):
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Judge now, for instance by other terms."""
        async with self._looking:  # each verdict follows from the one before
            terms = self._terms()
            conditions = await self._sensors.look(terms, self._state().chosen_devices)
            judged = verdict(terms, conditions, self._state().verdict)
            self._dispatch(TermsJudged(terms=terms, verdict=judged))
        self._obey()

    async def close(self) -> None:
        """End judging. May be called twice."""
        await self._background.close()
        await self._sensors.close()
