"""Reads the files that fill a swarm's slots, before its training starts."""

import asyncio
from typing import TYPE_CHECKING

from app.state.events import ReadingBegan, StopRequested
from app.state.store import Store
from app.swarm.bindings import Bindings

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec


class SlotReading:
    """Fills the slots, which may take minutes; the state says so, and `cancel` ends it."""

    def __init__(self, store: Store, bindings: Bindings) -> None:
        self._store = store
        self._bindings = bindings
        self._reading: asyncio.Task[SwarmSpec] | None = None

    async def filled(self, spec: "SwarmSpec") -> "SwarmSpec | None":
        """As `Bindings.filled`; None where `cancel` was called meanwhile.

        What the state is after an error is the caller's to say.
        """
        from app.spec import filling

        if not filling.places(spec):
            return spec
        self._store.dispatch(ReadingBegan())
        reading = self._reading = asyncio.create_task(self._bindings.filled(spec))
        try:
            await asyncio.wait({reading})
        except asyncio.CancelledError:
            if self._reading is reading:
                self.cancel()
            raise
        if self._reading is not reading:
            return None
        self._reading = None
        return reading.result()

    def cancel(self) -> None:
        """Wait for the files no longer, and start nothing after them. Nothing happens when none
        are read."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            self._store.dispatch(StopRequested())
