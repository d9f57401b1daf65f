"""The app without a window: a progress line on a terminal, JSON lines into a pipe."""

import asyncio
import contextlib
import getpass
import logging
import os
import signal
import sys
from typing import NoReturn

from app.callback.server import Callback
from app.callback.sources import sources_of
from app.cli import Arguments, has_display
from app.common import i18n, logs
from app.common.background import end
from app.common.errors import FolderError, PortTakenError, SettingsError, UserFacingError
from app.common.i18n import _
from app.common.paths import RESOURCES, Folders
from app.demo import DemoSwarm
from app.door.run import SwarmDoor
from app.headless import one_time
from app.headless.display import Display, say
from app.headless.printer import Printer
from app.headless.service import ServiceManager, notify
from app.lab.service import LabService
from app.lifecycle import processes
from app.organiser.known import Standing
from app.session import Session
from app.settings import loading
from app.spec import schema as spec
from app.state.state import ContributorState, Phase
from app.swarm.organisation import vouched
from app.tasks.tasks import Tasks

log = logging.getLogger(__name__)

PASSWORD_VARIABLE = "COTRAIN_PASSWORD"


def run(arguments: Arguments) -> int:
    """Run until stopped, completed or failed; returns the exit status."""
    i18n.install("system", RESOURCES / "translations")
    if arguments.verify:
        return one_time.verify(arguments.verify)
    folders = Folders.under(arguments.data_dir) if arguments.data_dir else Folders.default()
    if arguments.check_config:
        return one_time.check_config(arguments, folders)
    if not arguments.headless and not has_display():
        say(_("No display found: running without a window."))
    try:
        folders.create()
        file = None if arguments.safe else folders.settings_file
        chosen, damaged = loading.load_or_mend(file, arguments.overrides)
        i18n.install(chosen.language, RESOURCES / "translations")
        password = _password(arguments.sign_in) if arguments.sign_in else ""
        logging_ = logs.start(folders.logs, debug=chosen.debug)
    except UserFacingError as error:
        say(error.text)
        # a full disk may have room again: a service is to be started anew
        return 1 if isinstance(error, FolderError) else one_time.USAGE_STATUS
    if damaged is not None:
        say(damaged.text)
    try:
        if one_time.is_asked(arguments):
            return one_time.run(arguments, folders, chosen)
        session = Session(settings=chosen, folders=folders)
        session.bindings.give(arguments.data)
        work = (
            _DoorWork(arguments, session, ring=logging_.ring)
            if arguments.bootstrap
            else _Contribution(arguments, session, password, ring=logging_.ring)
        )
        return asyncio.run(_run(work, session))
    finally:
        logging_.close()


def _password(email: str) -> str:
    """From the environment, a terminal or a pipe.

    Never from the command line, which every user of this machine can read. Asked for before the
    event loop runs, since it may wait for somebody to type.
    """
    given = os.environ.pop(PASSWORD_VARIABLE, "")  # no child inherits it
    if not given and sys.stdin.isatty():
        given = getpass.getpass(_("Password of {email}: ").format(email=email))
    given = given or sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise UserFacingError(
            _("no password was given."),
            field=PASSWORD_VARIABLE,
            remedy=_("Set this variable, or type or pipe the password in."),
        )
    return given


async def _run(work: "_Contribution | _DoorWork", session: Session) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with contextlib.closing(Printer(encoding=sys.stdout.encoding)) as printer:
        return await _shown_by(Display(printer, say_beside=printer.say), work, session, stop)


async def _shown_by(
    display: Display, work: "_Contribution | _DoorWork", session: Session, stop: asyncio.Event
) -> int:
    showing = session.store.subscribe(display.show)
    manager = ServiceManager(session.store)
    manager.open()
    try:
        stopping = asyncio.create_task(stop.wait())
        working = asyncio.create_task(work.run())
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else 0
    except UserFacingError as error:
        display.say(error.text)
        wrong = isinstance(error, SettingsError) and not isinstance(error, PortTakenError)
        return one_time.USAGE_STATUS if wrong else 1
    finally:
        await manager.close()
        await end(working, stopping)
        await work.close()
        display.close(session.store.state)
        showing.close()


class _Contribution:
    """Train in the swarm of the command line, in the demo swarm, or what callers of the API ask
    for; or only sign in or out at the backend."""

    def __init__(
        self, arguments: Arguments, session: Session, password: str, *, ring: logs.RingBuffer
    ) -> None:
        self._arguments = arguments
        self._session = session
        self._password = password
        self._demo = DemoSwarm(session)
        self._lab = LabService(session)
        self._callback = Callback(
            session,
            tasks=Tasks(session),
            sources=sources_of(
                session.store,
                ledger=session.contributions.ledger,
                machines=session.machines,
                log=ring,
            ),
        )

    async def run(self) -> int:
        """Join, train, and wait until training ends; returns the exit status."""
        arguments, session = self._arguments, self._session
        swarm = await _swarm_spec(arguments, session)
        has_work = swarm is not None or arguments.demo or arguments.serve
        if not has_work and (arguments.sign_in or arguments.sign_out):
            await session.open_account()
            await _see_to_account(arguments, session, self._password)
            return 0
        await session.open(look_for_devices=False)
        await _see_to_account(arguments, session, self._password)
        await self._callback.start()
        self._lab.open()
        notify("READY=1")
        if arguments.serve:
            _say_how_to_call(session)
        if arguments.demo:
            await self._demo.start()
        elif swarm is not None:
            session.bindings.check(swarm)  # before anybody sees us
            await _see_to_organiser(arguments, session, swarm)
            await session.swarm.join(swarm)
        elif not has_work:
            await session.way_back.go_back()  # and train, as planned
        if session.swarm.joined and has_work:
            await session.training.start()
        if arguments.serve:
            await _for_ever()
        return await _end_of_training(session)

    async def close(self) -> None:
        """Close the local API, and end everything that was started."""
        await self._lab.close()
        await self._callback.close()
        await asyncio.gather(self._demo.close(), self._session.close())
        await asyncio.to_thread(processes.wait_for_freed_memory)


class _DoorWork:
    """Be a door of the swarm that the command line names."""

    def __init__(self, arguments: Arguments, session: Session, *, ring: logs.RingBuffer) -> None:
        self._arguments = arguments
        self._session = session
        self._ring = ring
        self._door: SwarmDoor | None = None

    async def run(self) -> int:
        """Serve until it is cancelled."""
        swarm = await _swarm_of_door(self._arguments, self._session)
        await self._session.open(look_for_devices=False)
        await _see_to_organiser(self._arguments, self._session, swarm)
        self._door = SwarmDoor(self._session, swarm, ring=self._ring)
        await self._door.open()
        notify("READY=1")
        return await _for_ever()

    async def close(self) -> None:
        """Close the door, and leave the swarm."""
        if self._door is not None:
            await self._door.close()
        await self._session.close()


async def _for_ever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("it only ends by being cancelled")


async def _see_to_account(arguments: Arguments, session: Session, password: str) -> None:
    account, reporting = session.account, session.store.state.reporting
    url = reporting.backend_url
    if arguments.sign_out:
        await account.sign_out()
        say(_("Signed out of {url}.").format(url=url))
    if arguments.sign_in:
        if reporting.plain_http and not reporting.encrypted:
            say(_("{url} is not encrypted: others can read the password.").format(url=url))
        # nobody watches a headless machine, so it must be able to sign in again by itself
        await account.sign_in(arguments.sign_in, password=password, stay=True)
        say(_("Signed in to {url} as {email}.").format(url=url, email=arguments.sign_in))


async def _see_to_organiser(arguments: Arguments, session: Session, swarm: spec.SwarmSpec) -> None:
    """Say who signed the invite; trust another key than before only if the user names it."""
    judged = await session.organisation.judge(swarm)
    if judged.standing is not Standing.UNSIGNED:
        say(vouched(swarm, judged))
    key = "none" if swarm.organiser is None else swarm.organiser.key
    if judged.standing is Standing.CHANGED and arguments.accept_organiser == key:
        await session.organisation.trust(swarm)


def _say_how_to_call(session: Session) -> None:
    if session.store.state.local_api is None:
        raise UserFacingError(
            _("the local API is switched off, so there is nothing to serve."),
            field="callback",
            remedy=_("Leave --no-callback or --serve away."),
        )
    url, tokens = session.store.state.local_api.url, session.folders.callback_tokens
    say(_("Local API: {url}, tokens: {file}").format(url=url, file=tokens))
    if session.store.settings.consent == "ask":
        say(
            _(
                "Tasks from outside need the volunteer's word, and nobody can be asked without a"
                " window: they are refused. With --consent always, those of consent_backends"
                " ({backends}) are accepted."
            ).format(backends=", ".join(session.store.settings.consent_backends))
        )


async def _swarm_spec(arguments: Arguments, session: Session) -> spec.SwarmSpec | None:
    if source := arguments.swarm or arguments.invite:
        return await session.recents.read_invite(source)
    account = arguments.sign_in or arguments.sign_out
    if not arguments.demo and not arguments.serve and not account:
        await _check_way_back(session)
    return None


async def _check_way_back(session: Session) -> None:
    """Without anything on the command line, we go on with what we did last."""
    planned = await session.way_back.planned()
    may_be_started = bool(session.store.settings.lab_key)
    if planned is not None and (planned[1].train or may_be_started):
        return
    text = _("there is nothing to do.")
    if planned is not None:
        stopped = _("training in {swarm} was stopped, so it doesn't start by itself.")
        text = stopped.format(swarm=planned[0].name)
    raise UserFacingError(
        text,
        remedy=_(
            "Give --swarm and an invite, a file or a link, or --demo, or --serve to be told by"
            " the local API."
        ),
    )


async def _swarm_of_door(arguments: Arguments, session: Session) -> spec.SwarmSpec:
    if source := arguments.swarm or arguments.invite:
        return await session.recents.read_invite(source)
    raise UserFacingError(
        _("a door needs a swarm."), remedy=_("Give --swarm and an invite, a file or a link.")
    )


async def _end_of_training(session: Session) -> int:
    """Wait until the run is completed, or training has failed for good; returns the exit status.

    A stop that somebody asked for in the browser is no end, so that they can start it again there;
    nor is the end of the run on a machine whose lab may start it again.
    """
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look(state: ContributorState) -> None:
        if ended.done() or state.trains_or_will:
            return
        if state.phase is Phase.FAILED:
            ended.set_result(1)
        elif state.completed and not session.store.settings.lab_key:
            ended.set_result(0)

    looking = session.store.subscribe(look)
    look(session.store.state)
    try:
        return await ended
    finally:
        looking.close()
