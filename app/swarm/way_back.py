"""The way back to a swarm: at the app's start, to the one that it was in when it ended.

A file has the run, whether this machine was to train, and the user's pause; it is written at each
change, so a crash or a power cut loses nothing.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.common.background import Background
from app.common.backoff import Backoff
from app.common.errors import JoinError
from app.common.paths import read_json, write_atomically
from app.state.events import (
    Event,
    JoinBegan,
    Joined,
    Left,
    PauseChosen,
    PauseEnded,
    ProblemDismissed,
    ReadingBegan,
    RestartCancelled,
    ReturnChanged,
    StopRequested,
    TrainerGone,
    TrainingAwaited,
    TrainingRequested,
)
from app.state.facts import Returning
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.membership import Membership
from app.swarm.recents import Recents

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS = 5.0, 120.0
"""Waits between two attempts to join: the first one, and about the longest."""

FILE_NAME = "way-back.json"
"""In the data folder."""

MAX_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Intention:
    """What this machine was doing, and is to go on with."""

    run_id: str
    train: bool = False
    paused: bool = False
    """The user, or a lab, has paused training."""
    paused_until: float | None = None
    """When it is to resume, in seconds since the epoch; None: when the user resumes it."""

    def is_paused(self, now: float) -> bool:
        """Whether the pause lasts. now: seconds since the epoch."""
        return self.paused and (self.paused_until is None or now < self.paused_until)


class WayBack:
    """Notes what the app is to go back to, from the first event to `close`; and goes there.

    file: keeps the intention. train: starts training. pause: makes it start later, in seconds since
    the epoch; None for when the user resumes it.
    """

    def __init__(
        self,
        store: Store,
        *,
        file: Path,
        recents: Recents,
        membership: Membership,
        train: Callable[[], Awaitable[None]],
        pause: Callable[[float | None], Awaitable[None]],
    ) -> None:
        self._store = store
        self._file = file
        self._recents = recents
        self._membership = membership
        self._train = train
        self._pause = pause
        self._intention: Intention | None = None
        self._saved: Intention | None = None
        self._saving = asyncio.Lock()
        self._background = Background()
        self._hurry = asyncio.Event()
        self._on_its_way = self._joining = self._closed = False

    # --- what the app is to go back to

    def note(self, event: Event, state: ContributorState) -> None:
        """Take an event of the store into account."""
        if self._closed:
            return
        if isinstance(event, JoinBegan) and not self._joining:
            self._stay_away()  # the user has chosen a swarm
        self._intend(_intended(self._intention, event, state))

    def _intend(self, intention: Intention | None) -> None:
        if intention != self._intention:
            self._intention = intention
            self._writing = self._background.start(self._save())

    async def _save(self) -> None:
        async with self._saving:
            intention = self._intention
            content = {} if intention is None else asdict(intention)
            try:
                await asyncio.to_thread(write_atomically, self._file, json.dumps(content).encode())
            except OSError as error:
                log.warning("the swarm to go back to can't be noted: %s", error)
            self._saved = intention

    async def planned(self) -> "tuple[SwarmSpec, Intention] | None":
        """The swarm to go back to and what to do in it; None where there is none."""
        if not self._store.settings.go_back:
            return None
        intention = await asyncio.to_thread(_read, self._file)
        if intention is None:
            return None
        known = [each.spec for each in await self._recents.load()]
        spec = next((each for each in known if each.run_id == intention.run_id), None)
        return None if spec is None else (spec, intention)

    # --- going back

    async def go_back(self) -> bool:
        """Enter the planned swarm, and train if this machine did; try until it succeeds.

        Returns False without a plan, or when the user chose otherwise meanwhile. Raises what
        joining and training raise, but for a swarm that can't be reached.
        """
        self._on_its_way = True  # from now on it may be given up
        planned = await self.planned()
        given_up, self._on_its_way = not self._on_its_way, False
        if planned is None or self._closed or (given_up and self._intention is not None):
            return False
        spec, intention = planned
        self._intention = self._saved = intention
        if given_up:
            self._intend(None)
            return False
        return await self._go(spec, intention)

    async def return_to(self, spec: "SwarmSpec", intention: Intention) -> bool:
        """Enter a swarm that was left a moment ago, in the same way as `go_back`."""
        if self._closed:
            return False
        self._intend(intention)
        return await self._go(spec, intention)

    async def go_on(self, intention: Intention) -> None:
        """Do in the swarm that we are in what this machine did before. Raises what training
        raises."""
        if intention.train and intention.is_paused(time.time()):
            await self._pause(intention.paused_until)
        elif intention.train:
            await self._train()

    async def _go(self, spec: "SwarmSpec", intention: Intention) -> bool:
        self._on_its_way = True
        log.info("going back to the swarm %s", spec.run_id)
        try:
            if not await self._enter(spec):
                return False
        finally:
            self._on_its_way = False
            self._store.dispatch(ReturnChanged(returning=None))
        await self.go_on(intention)
        return True

    async def _enter(self, spec: "SwarmSpec") -> bool:
        gate = Backoff(first=FIRST_SECONDS, longest=LONGEST_SECONDS, clock=time.monotonic)
        while self._on_its_way:
            self._store.dispatch(ReturnChanged(returning=Returning(title=spec.name)))
            reason = await self._try(spec)
            if reason is None:
                return self._on_its_way
            wait = gate.fail(at_least=FIRST_SECONDS)
            returning = Returning(title=spec.name, retry_at=time.time() + wait, reason=reason)
            self._store.dispatch(ReturnChanged(returning=returning))
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._hurry.wait()
        return False

    async def _try(self, spec: "SwarmSpec") -> str | None:
        """Returns why the swarm can't be reached, or None."""
        self._joining = True
        try:
            if not await self._membership.join(spec):
                self._stay_away()
        except JoinError as error:
            self._store.dispatch(ProblemDismissed())  # the countdown says it
            return error.message
        finally:
            self._joining = False
        return None

    def hurry(self) -> None:
        """Try at once instead of waiting."""
        self._hurry.set()

    def give_up(self) -> None:
        """Don't go back, neither now nor at the next start."""
        self._stay_away()
        self._intend(None)

    def _stay_away(self) -> None:
        self._on_its_way = False
        self._hurry.set()

    async def close(self) -> None:
        """Take no more events into account: what follows is the app's end, not the user's wish."""
        self._closed = True
        self._stay_away()
        if self._saved != self._intention:
            await self._save()
        await self._background.close()


def _intended(before: Intention | None, event: Event, state: ContributorState) -> Intention | None:
    match event:
        case Joined() if state.swarm is not None and state.swarm.returns:
            same = before is not None and before.run_id == state.swarm.run_id
            return before if same else Intention(run_id=state.swarm.run_id)
        case Left():
            return None
        case ReadingBegan() | TrainingRequested() | TrainingAwaited():
            return before and replace(before, train=True)
        case StopRequested() | RestartCancelled() | TrainerGone(completed=True):
            return before and Intention(run_id=before.run_id)
        case PauseChosen(until=until) if state.paused_by_user:
            return before and replace(before, paused=True, paused_until=until)
        case PauseEnded():
            return before and replace(before, paused=False, paused_until=None)
    return before


def _read(file: Path) -> Intention | None:
    try:
        content = read_json(file, most=MAX_BYTES)
    except (OSError, ValueError):
        return None
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(content, Intention)
    return None
