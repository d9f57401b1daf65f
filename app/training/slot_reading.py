"""Reads the files that fill a swarm's slots, before its training starts."""

import asyncio
from typing import TYPE_CHECKING

from app.state.events import ReadingBegan
from app.state.store import Store
from app.swarm.bindings import Bindings

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec


class SlotReading:
    """Fills the slots, which may take minutes; the state says so, and `cancel` ends it. What the
    state is afterwards is the caller's to say."""

    def __init__(self, store: Store, bindings: Bindings) -> None:
        self._store = store
        self._bindings = bindings
        self._reading: asyncio.Task[SwarmSpec] | None = None

    @property
    def is_under_way(self) -> bool:
        """Files are read now."""
        return self._reading is not None

    async def filled(self, spec: "SwarmSpec") -> "SwarmSpec | None":
        """As `Bindings.filled`; None where `cancel` was called meanwhile."""
        from app.spec import filling

        if not filling.places(spec):
            return spec
        self._store.dispatch(ReadingBegan())
        reading = self._reading = asyncio.create_task(self._bindings.filled(spec))
        try:
            await asyncio.wait({reading})
            return reading.result() if self._reading is reading else None
        finally:
            reading.cancel()
            if self._reading is reading:
                self._reading = None

    def cancel(self) -> None:
        """Wait for the files no longer. Nothing happens when none are read."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
