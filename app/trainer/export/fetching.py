"""Fetch a swarm's weights as a peer that doesn't train, and keep them as a checkpoint.

What is fetched is read and written with, never trained on or given away, and nobody has judged its
loss. So it is held against what other trainers have, and must be finite.
"""

import asyncio
import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.common.errors import ExportError
from app.common.i18n import _
from app.message import Message
from app.p2p.calls import CallError
from app.p2p.network import Network, listening
from app.p2p.peer import EmbeddedPeer
from app.p2p.plausible import RunTimes
from app.p2p.sightings import Run
from app.p2p.states.comparing import MOST_AHEAD, STEPS_AN_EPOCH, are_finite, opinions
from app.p2p.states.donors import DonorId, DonorStub, donors_of, namespace_of
from app.p2p.states.download import (
    DonorCalls,
    DonorError,
    DonorTurns,
    Download,
    OtherModelError,
    SaidLayout,
)
from app.spec import schema as specs
from app.spec.admission import admission_to
from app.spec.schema import SwarmSpec
from app.takeout.messages import ExportProgress, ExportStep, FetchWeights, WeightsFetched
from app.trainer.checkpoint import Checkpoint, CheckpointFolder, NotFiniteError
from app.trainer.data.tokenizer import open_tokenizer
from app.trainer.model.adapters import state_of, trained
from app.trainer.model.build import model_to_fill
from app.trainer.model.pretrained import fetch_pretrained
from app.trainer.peer.doors import Doors
from app.trainer.pinned.downloads import Downloads

log = logging.getLogger(__name__)

_FLOAT32 = 4
"""Bytes."""

_LOOKS, _LOOK_SECONDS = 5, 2.0
"""A node that has just entered doesn't find all records at once."""

_DOOR_SECONDS = 10.0

_REPORT_SECONDS = 0.5

_UNFINISHED = "new-"
"""Begins the name of a folder whose checkpoint isn't complete yet."""


@dataclass(frozen=True, kw_only=True)
class _SwarmWeights:
    """The weights of a swarm."""

    epoch: int
    content: bytearray
    """Of the parameters, one after the other, as float32."""
    from_door: bool


def fetch(order: FetchWeights, send: Callable[[Message], None]) -> None:
    """Fetch the newest weights that somebody gives.

    Raises `ExportError`, `JoinError`, `SpecError`, `DataError` or `DeviceError`.
    """
    send(ExportProgress(step=ExportStep.LOADING))
    spec = specs.parse(order.spec)
    downloads = Downloads(cache=Path(order.cache_dir), sign_in=order.hub_sign_in)
    size = open_tokenizer(spec.data.tokenizer, downloads).vocabulary_size
    pretrained = fetch_pretrained(spec, downloads)
    model = model_to_fill(spec, vocabulary_size=size, pretrained=pretrained)
    needed = _FLOAT32 * sum(each.numel() for each in trained(model))
    found = asyncio.run(_Fetching(order, spec, needed, send).run())
    _fill(trained(model), found.content)
    _keep(
        Checkpoint(epoch=found.epoch, position=0, model=state_of(model), optimizer={}),
        Path(order.folder),
        spec,
    )
    send(WeightsFetched(epoch=found.epoch, from_door=found.from_door))


def _keep(checkpoint: Checkpoint, folder: Path, spec: SwarmSpec) -> None:
    """Put it in place of what was fetched before, whatever epoch that claimed to be of.

    Raises `ExportError`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for unfinished in folder.glob(f"{_UNFINISHED}*"):  # of a process that was killed
            shutil.rmtree(unfinished)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_UNFINISHED) as place:
            CheckpointFolder(Path(place), spec).save(checkpoint)
            for old in folder.glob("*.pt"):
                old.unlink(missing_ok=True)
            for new in Path(place).iterdir():
                new.replace(folder / new.name)
    except NotFiniteError as error:
        raise ExportError(_("the weights that arrived hold values that are not finite.")) from error
    except OSError as error:
        raise ExportError(
            _("can't be written: {reason}.").format(reason=error.strerror or error),
            field=str(folder),
            remedy=_("Make room, or choose another data folder with --data-dir."),
        ) from error


@torch.no_grad()
def _fill(parameters: Iterable[torch.nn.Parameter], content: bytearray) -> None:
    begin = 0
    for each in parameters:
        given = torch.frombuffer(content, dtype=torch.float32, count=each.numel(), offset=begin)
        each.copy_(given.reshape(each.shape))
        begin += _FLOAT32 * each.numel()


class _Fetching:
    """One try, with a peer of its own. size: bytes of the parameters."""

    def __init__(
        self, order: FetchWeights, spec: SwarmSpec, size: int, send: Callable[[Message], None]
    ) -> None:
        self._order, self._spec, self._size, self._send = order, spec, size, send
        self._reported_at = 0.0

    async def run(self) -> _SwarmWeights:
        """Raises `ExportError` or `JoinError`."""
        spec, order = self._spec, self._order
        admission = admission_to(spec, Path(order.roster_file))
        if admission.is_closed and not admission.roster.serial:
            raise ExportError(
                _("the swarm is closed, and this machine doesn't know its members yet."),
                remedy=_("Join it in the app once, and ask its organiser to add this machine."),
            )
        with tempfile.TemporaryDirectory() as place:
            peer = EmbeddedPeer(Path(order.identity_file or f"{place}/peer.pem"))
            await peer.join(
                spec.run_id,
                initial_peers=order.initial_peers,
                network=Network(
                    listen=listening(0, local=spec.local), reachability="client", local=spec.local
                ),
                times=RunTimes.of(spec.training.averaging),
                admission=admission,
            )
            try:
                return await self._from_anybody(peer)
            finally:
                await peer.leave()

    async def _from_anybody(self, peer: EmbeddedPeer) -> _SwarmWeights:
        reason = _("nobody offers the swarm's state")
        for _look in range(_LOOKS):
            run = None
            try:
                run = await peer.observe()
                return await self._from_trainers(peer.node, epoch=0 if run is None else run.epoch)
            except (DonorError, CallError) as error:
                reason = str(error)
                log.info("no weights from a trainer: %s", reason)
            if (found := await self._from_doors(peer.node, run)) is not None:
                return found
            await asyncio.sleep(_LOOK_SECONDS)
        raise ExportError(
            _("nobody gives the weights of this swarm now: {reason}.").format(reason=reason),
            remedy=_("Try again when others train, or train here."),
        )

    async def _from_trainers(self, node: Any, *, epoch: int) -> _SwarmWeights:
        """epoch: of the run, as its records say. Raises `DonorError` or `CallError`."""
        run_id = self._spec.run_id
        stub = partial(DonorStub.get_stub, node.p2p, namespace=namespace_of(run_id))
        calls = DonorCalls(stub=stub)  # at full speed: nobody trains here meanwhile
        donors = await donors_of(node, run_id, epoch=epoch)
        failure: DonorError | CallError = DonorError(_("nobody offers the swarm's state"))
        turns = DonorTurns(donors)
        for donor, slowest in turns:
            others = [each for each in donors if each != donor]
            try:
                return await self._from_trainer(calls, donor, others, epoch=epoch, slowest=slowest)
            except (DonorError, CallError) as error:
                log.info("no weights from %s: %s", donor, error)
                failure = error
                turns.note_failure(donor, error)
        raise failure

    async def _from_trainer(
        self,
        calls: DonorCalls,
        donor: DonorId,
        others: list[DonorId],
        *,
        epoch: int,
        slowest: float,
    ) -> _SwarmWeights:
        header = await calls.header(donor)
        if header.parameters_end != self._size or header.size < self._size:
            raise OtherModelError(_("it trains another model, or with another optimizer"))
        if header.epoch > epoch + MOST_AHEAD:  # not worth a download
            raise DonorError(_("it is in another epoch than the swarm"))
        layout = SaidLayout.of(header)
        download = Download(layout=layout, content=bytearray(self._size))
        await calls.fetch(donor, download, partial(self._say, download), slowest=slowest)
        if not are_finite(download.content, self._size):
            raise DonorError(_("its state holds values that are not finite"))
        training = self._spec.training
        steps = STEPS_AN_EPOCH if training.local_steps is not None else 1
        agree, differ = await opinions(
            calls,
            others,
            layout=layout,
            content=download.content,
            epoch=download.epoch,
            step_size=steps * training.optimizer.learning_rate,
        )
        if download.epoch > epoch + MOST_AHEAD:
            raise DonorError(_("it is in another epoch than the swarm"))
        if differ > agree:
            raise DonorError(_("most other peers hold another state"))
        return _found(download, from_door=False)

    async def _from_doors(self, node: Any, run: Run | None) -> _SwarmWeights | None:
        """run: as its records say; None where nobody trains."""
        own = node.peer_id.to_base58()
        doors = Doors.of(self._spec, self._order.initial_peers, besides=own)
        calls = DonorCalls(stub=partial(doors.stub, node.p2p))
        for door in doors.peers:
            try:
                async with asyncio.timeout(_DOOR_SECONDS):
                    header = await calls.header(door)
                is_ours = header.parameters_end == self._size <= header.size <= 8 * self._size
                if not is_ours or not doors.vouched(header):
                    log.warning("the snapshot of the door %s is of another run", door)
                    continue
                if run is not None and header.epoch > run.epoch + MOST_AHEAD:
                    log.warning("the snapshot of the door %s is ahead of the swarm", door)
                    continue
                # all of it: the digest is that of the whole
                download = Download(layout=SaidLayout.of(header), content=bytearray(header.size))
                await calls.fetch(door, download, partial(self._say, download))
            except (DonorError, CallError, TimeoutError) as error:
                log.info("no weights from the door %s: %s", door, error)
                continue
            download.epoch = header.epoch  # what is vouched for, whatever came with the bytes
            is_announced = hashlib.sha256(download.content).hexdigest() == header.digest
            if is_announced and are_finite(download.content, self._size):
                return _found(download, from_door=True)
            log.warning("the snapshot of the door %s isn't what it has announced", door)
        return None

    def _say(self, download: Download) -> None:
        now, size = time.monotonic(), len(download.content)
        if not download.is_complete and now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        rate, left = download.rate, size - download.received
        self._send(
            ExportProgress(
                step=ExportStep.FETCHING,
                done=download.received,
                size=size,
                seconds_left=left / rate if rate else None,
            )
        )


def _found(download: Download, *, from_door: bool) -> _SwarmWeights:
    assert isinstance(download.content, bytearray)
    return _SwarmWeights(epoch=download.epoch, content=download.content, from_door=from_door)
