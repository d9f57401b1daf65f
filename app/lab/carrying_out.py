"""What each command of a lab does with a session. Nothing here runs code or names paths of others.

What can be told beforehand is a `LabError`: the command is refused, and nothing has changed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.common.background import Background, end
from app.common.errors import (
    BusyError,
    ExportError,
    LabError,
    OrganiserError,
    SettingsError,
    SpecError,
    UserFacingError,
)
from app.common.i18n import _
from app.export.exporter import export
from app.export.kept_runs import KeptRuns
from app.export.target import ExportTarget, default_folder
from app.lab.messages import (
    ChangeSettings,
    ExportModel,
    LabCommand,
    MoveToSwarm,
    PauseTraining,
    StartTraining,
    StopTraining,
)
from app.organiser.known import Standing
from app.session import Session
from app.state.state import ContributorState, Phase
from app.swarm.organisation import changed
from app.swarm.way_back import Intention
from app.takeout.messages import ExportFacts, ExportProgress
from app.terms.terms import Terms

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

MAY_BE_SET = frozenset(
    {"alias", "currency", "energy_price", "go_back", "lab", "report_interval", "threads", "uplink"}
)
"""The settings that a lab may change, besides all terms: none is a path, an address, a key, or what
others may do with this machine."""

LEAVE_SECONDS = 10.0
"""After which a machine leaves for another swarm though nobody has taken its answer."""


class SessionHands:
    """Carries commands out, until `close`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._store = session.store
        self._starting: set[asyncio.Task[None]] = set()
        self._destination: SwarmSpec | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._background = Background()

    async def carry_out(self, command: LabCommand) -> str:
        """See `app.lab.desk.Hands`."""
        with _refusals():
            match command:
                case StartTraining():
                    return await self._start()
                case StopTraining():
                    await self._session.training.stop()
                case PauseTraining(seconds=seconds):
                    await self._session.training.pause(seconds)
                case ChangeSettings(values=values):
                    await self._session.change_settings(allowed(values))
                case MoveToSwarm(invite=link):
                    return await self._prepare_move(link)
                case ExportModel():
                    return await self._export()
        return ""

    def go_on(self) -> None:
        """Called when an answer has arrived: what ends the connection begins now."""
        destination = self._not_leaving()
        if destination is not None:
            self._moving = self._background.start(self._move(destination))

    async def close(self) -> None:
        """End what was begun. May be called twice."""
        self._not_leaving()
        await self._background.close()
        await end(*self._starting)

    # --- training

    async def _start(self) -> str:
        """Returns as soon as it is certain that training begins, which may take minutes."""
        training, state = self._session.training, self._store.state
        if state.phase.has_trainer and state.phase is not Phase.STOPPING:
            if state.paused_by_user:
                await training.resume()
                return _("It was paused, and goes on.")
            return _("It was training already.")
        begun = asyncio.Event()

        def look(now: ContributorState) -> None:
            if now.trains_or_will and not now.reads_files:  # a file may be a wrong one
                begun.set()

        starting = asyncio.create_task(training.start())
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        starting.add_done_callback(lambda _task: begun.set())
        looking = self._store.subscribe(look)
        try:
            await begun.wait()
        finally:
            looking.close()
        if starting.done():
            starting.result()
        return ""

    # --- another swarm

    async def _prepare_move(self, link: str) -> str:
        """Whether the machine can go there is told before it goes."""
        from app.spec import invite

        session = self._session
        spec = await asyncio.to_thread(invite.read_link, link)
        session.bindings.check(spec)
        judged = await session.organisation.judge(spec)
        if judged.standing is Standing.CHANGED:
            raise changed(spec, judged)
        self._not_leaving()  # for where an earlier command would have it go
        self._destination = spec
        self._leaving = asyncio.get_running_loop().call_later(LEAVE_SECONDS, self.go_on)
        return _("It leaves for {swarm} now.").format(swarm=spec.name)

    def _not_leaving(self) -> "SwarmSpec | None":
        """Forget the swarm that it was about to leave for; returns it."""
        destination, self._destination = self._destination, None
        if self._leaving is not None:
            self._leaving.cancel()
        return destination

    async def _move(self, spec: "SwarmSpec") -> None:
        """Go there, and do what this machine did; come back where that swarm can't be entered,
        unless the user goes elsewhere or gives it up."""
        session, before, state = self._session, self._session.swarm.spec, self._store.state
        intention = Intention(
            run_id=spec.run_id,
            train=state.trains_or_will,
            paused=state.paused_by_user,
            paused_until=state.paused_until,
        )
        try:
            if await self._entered(spec):
                if session.swarm.spec is spec:
                    await session.way_back.go_on(intention)
            elif before is not None:
                intention = replace(intention, run_id=before.run_id)
                await session.way_back.return_to(before, intention)
        except UserFacingError as error:
            log.warning("nothing goes on after the lab's move: %s", error.text)

    async def _entered(self, spec: "SwarmSpec") -> bool:
        """Enter a swarm. True as well when the user has gone elsewhere meanwhile."""
        try:
            await self._session.swarm.join(spec)
        except UserFacingError as error:
            log.warning("the swarm %s can't be entered: %s", spec.run_id, error.text)
            return False
        return True

    # --- export

    async def _export(self) -> str:
        session, spec = self._session, self._session.swarm.spec
        if spec is None:
            raise LabError(_("this machine is in no swarm."))
        kept = await KeptRuns.of(session.folders)
        target = ExportTarget(default_folder(spec.run_id), overwrite=False)
        try:
            run = await asyncio.to_thread(kept.of_swarm, spec)
            await asyncio.to_thread(target.check)
        except ExportError as error:
            raise LabError(error.message) from error
        shown = session.machines.alias if session.machines.publishing and run.is_own else ""
        facts = ExportFacts(since=run.since, contributors=(shown,) if shown else ())
        written, _aside = await export(
            run, target, cache=session.folders.cache, facts=facts, on_progress=_ignored
        )
        # the path would tell the user's name
        return _("Epoch {epoch}, in the folder for models.").format(epoch=written.epoch)


def allowed(values: dict[str, str]) -> dict[str, Any]:
    """The changes for `Session.change_settings`. Raises `LabError` for what a lab may not change.

    values: by the name of a setting or a term.
    """
    changes: dict[str, Any] = {}
    for name, value in values.items():
        term = name.removeprefix("terms.")
        if term in Terms.model_fields:
            changes.setdefault("terms", {})[term] = value
        elif name in MAY_BE_SET:
            changes[name] = value
        else:
            raise LabError(_("a lab may not change this setting."), field=name)
    return changes


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Errors of checks that come before anything is changed."""
    try:
        yield
    except (BusyError, OrganiserError, SettingsError, SpecError) as error:
        raise LabError(error.message, field=error.field, remedy=error.remedy) from error


def _ignored(_progress: ExportProgress) -> None:
    pass
