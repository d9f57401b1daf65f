"""A door's snapshots: every so many epochs it fetches the run's state from a trainer, and keeps it.

Who joins when nobody trains any more begins with the newest one, so a swarm that everybody has left
goes on where it was. The door knows nothing of what the bytes mean: it holds them against what
other trainers have, and whoever takes them judges them as any donor's state.
"""

import asyncio
import errno
import logging
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from app.common import signing
from app.common.background import Background, in_thread, survived
from app.common.i18n import _
from app.p2p import calls
from app.p2p.calls import CallError
from app.p2p.states.comparing import MOST_AHEAD, STEPS_AN_EPOCH, are_finite, opinions
from app.p2p.states.donors import DonorId, DonorStub, donors_of, namespace_of
from app.p2p.states.download import DonorCalls, DonorError, DonorTurns, Download, SaidLayout
from app.p2p.states.folder import KeptSnapshotFile, SnapshotFolder
from app.p2p.states.servicer import SnapshotServicer
from app.p2p.states.wire import Header
from app.session import Session
from app.spec import estimate
from app.spec.schema import SwarmSpec
from app.state.events import SnapshotChanged
from app.state.facts import DoorSnapshot
from app.takeout.identity import identity_of

if TYPE_CHECKING:
    from app.common.signing import MachineKey

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Between two looks whether a snapshot is due."""

RETRY_SECONDS = 30.0
"""Until the next try, after all donors were asked in vain. A donor sends the same copy of its state
for a minute, which may be older than the epoch that it is asked in."""

MOST_SECONDS = 3600.0
"""That a donor may take: one that dribbles would keep us from asking the others."""

MOST_BYTES = 16
"""Of a state, for each parameter that is trained: twice as much as Adam needs."""


class Snapshots:
    """Of the run of a door, from `open` to `close`.

    key: the organiser's, None in a swarm without one.
    """

    def __init__(self, session: Session, spec: SwarmSpec, key: "MachineKey | None") -> None:
        self._store, self._swarm = session.store, session.swarm
        self._organisation = session.organisation
        self._spec, self._key = spec, key
        folder = session.folders.data / "snapshots" / spec.run_id / identity_of(spec)
        self._folder = SnapshotFolder(folder)
        self._most_bytes = _most_bytes(spec)
        steps = STEPS_AN_EPOCH if spec.training.local_steps is not None else 1
        self._step_size = steps * spec.training.optimizer.learning_rate
        self._kept: KeptSnapshotFile | None = None
        self._servicer: SnapshotServicer | None = None
        self._served: Any = None  # the node that answers with it
        self._not_before = 0.0
        self._background = Background()

    def open(self) -> None:
        """Begin to serve what is kept, and to keep more."""
        self._keeping = self._background.start(self._keep())

    async def close(self) -> None:
        """End it; what is kept stays. May be called twice."""
        await self._background.close()

    async def _keep(self) -> None:
        problem = ""
        try:
            self._kept = await asyncio.to_thread(self._folder.newest)  # reads all of it
        except OSError as error:
            problem = _problem_of(error)
        self._tell(problem)
        while True:
            with survived(log, "looking whether a snapshot is due failed"):
                await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        node, run = self._swarm.node, self._store.state.run
        if node is None:  # the daemon has died, and is about to be replaced
            return
        if node is not self._served:
            await self._serve(node)
        last = self._kept.header.epoch if self._kept is not None else 0
        is_due = run is not None and run.epoch >= last + self._store.settings.snapshot_every
        if not is_due or time.monotonic() < self._not_before:
            return
        assert run is not None
        problem = ""
        try:
            if await self._take(node, epoch=run.epoch):
                self._tell()
                return
        except (DonorError, CallError) as error:
            problem = str(error)
        except OSError as error:
            problem = _problem_of(error)
        self._not_before = time.monotonic() + RETRY_SECONDS
        if problem:
            log.warning("no snapshot of epoch %d: %s", run.epoch, problem)
        self._tell(problem)

    async def _serve(self, node: Any) -> None:
        servicer = SnapshotServicer(self._organisation.admission)
        servicer.snapshot = self._kept
        async with calls.within(calls.CALL_SECONDS):
            await servicer.add_p2p_handlers(node.p2p, namespace=self._spec.run_id)
        self._servicer, self._served = servicer, node

    def _tell(self, problem: str = "") -> None:
        kept = self._kept
        snapshot = DoorSnapshot(
            epoch=kept.header.epoch if kept is not None else None,
            size=kept.header.size if kept is not None else 0,
            problem=problem,
        )
        self._store.dispatch(SnapshotChanged(snapshot=snapshot))

    # --- taking one

    async def _take(self, node: Any, *, epoch: int) -> bool:
        """Take a snapshot of the first donor that gives a sound one; False where what they send is
        no newer than the last one.

        epoch: of the run. Raises `DonorError`, `CallError` or `OSError`.
        """
        stub = partial(DonorStub.get_stub, node.p2p, namespace=namespace_of(self._spec.run_id))
        donor_calls = DonorCalls(stub=stub)  # a door has no limit of its own
        donors = await donors_of(node, self._spec.run_id, epoch=epoch)
        own = self._store.state.peer_id
        if not self._organisation.admission.may_join(own):
            text = _("the swarm is closed: add this door's peer id {code} to its members")
            raise DonorError(text.format(code=own))
        if not donors:
            raise DonorError(_("nobody offers the swarm's state"))
        failure: DonorError | CallError | None = None
        turns = DonorTurns(donors)
        for donor, slowest in turns:
            others = [each for each in donors if each != donor]
            take = partial(self._take_from, donor, others, donor_calls)
            try:
                if await take(epoch=epoch, slowest=slowest):
                    return True
            except (DonorError, CallError) as error:
                log.info("no snapshot from %s: %s", donor, error)
                failure = error
                turns.note_failure(donor, error)
        if failure is not None:
            raise failure
        return False

    async def _take_from(
        self,
        donor: DonorId,
        others: list[DonorId],
        donor_calls: DonorCalls,
        *,
        epoch: int,
        slowest: float,
    ) -> bool:
        header = await donor_calls.header(donor)
        self._check(header)
        last = self._kept.header.epoch if self._kept is not None else -1
        if header.epoch <= last:
            return False
        if header.epoch > epoch + MOST_AHEAD:  # not worth a download
            raise DonorError(_("it is in another epoch than the swarm"))
        layout = SaidLayout.of(header)
        with ExitStack() as room:
            receiving = self._folder.receiving(header.size)
            new = await in_thread(lambda: room.enter_context(receiving))
            download = Download(layout=layout, content=new.content)
            try:
                async with asyncio.timeout(MOST_SECONDS):
                    await donor_calls.fetch(donor, download, lambda: None, slowest=slowest)
            except TimeoutError:
                raise DonorError(_("it is very slow")) from None
            if not last < download.epoch <= epoch + MOST_AHEAD:
                raise DonorError(_("it is in another epoch than the swarm"))
            if not await in_thread(partial(are_finite, new.content, header.parameters_end)):
                raise DonorError(_("its state holds values that are not finite"))
            agree, differ = await opinions(
                donor_calls,
                others,
                layout=layout,
                content=new.content,
                epoch=download.epoch,
                step_size=self._step_size,
            )
            if differ > agree:
                raise DonorError(_("most other peers hold another state"))
            made = Header(
                epoch=download.epoch,
                size=header.size,
                layout=header.layout,
                parameters_end=header.parameters_end,
                digest=await in_thread(new.digest),
            )
            self._kept = await in_thread(partial(new.keep, self._signed(made)))
        log.info("keeping the snapshot of epoch %d (%d bytes)", made.epoch, made.size)
        assert self._servicer is not None
        self._servicer.snapshot = self._kept
        return True

    def _check(self, header: Header) -> None:
        is_ours = 0 < header.parameters_end <= header.size <= self._most_bytes
        if not is_ours or header.parameters_end % 4 or not header.layout:
            raise DonorError(_("it trains another model, or with another optimizer"))

    def _signed(self, header: Header) -> Header:
        if self._key is None:
            return header
        signature = self._key.sign(header.to_sign(self._spec.run_id))
        return msgspec.structs.replace(header, signature=signing.as_text(signature))


def _most_bytes(spec: SwarmSpec) -> int:
    """Of a state of this run; without a known vocabulary, what any disk holds."""
    found = estimate.estimate(spec, device="cpu")
    return MOST_BYTES * found.learning + 2**20 if found.vocabulary_known else 2**44


def _problem_of(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _("the disk of the data folder is full")
    return str(error)
