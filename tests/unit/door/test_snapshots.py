"""When a door takes a snapshot, of whom, and what it says when it can't."""

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hivemind.p2p import PeerID

from app.common import signing
from app.common.errors import OrganiserError
from app.door import snapshots as module
from app.door.snapshots import Snapshots
from app.organiser.files import OrganiserFiles
from app.p2p.sightings import Run
from app.p2p.states.comparing import MOST_AHEAD
from app.p2p.states.wire import Header, StateRefusal, Wanted
from app.spec import schema
from app.spec.signing import signed
from app.state.events import RunObserved, SnapshotChanged
from app.state.facts import DoorSnapshot
from tests.support.processes.apps import tiny_spec
from tests.support.processes.sessions import OfflineSession
from tests.support.training.states import Donor, SmallState, SmallSwarm

SPEC = schema.parse(tiny_spec())


class Node:
    """A node of the DHT whose network is the test's."""

    def __init__(self) -> None:
        self.p2p = self
        self.handlers: list[str] = []

    async def add_protobuf_handler(self, name: str, *_arguments: Any, **_options: Any) -> None:
        self.handlers.append(name)


class Door:
    """Its snapshots, and the swarm that it looks at."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *donors: Donor) -> None:
        self.session = OfflineSession(folder, snapshot_every=5)
        self.node = Node()
        self.session.peer.node = self.node  # type: ignore[assignment]
        self.swarm = SmallSwarm.of(*donors)

        async def donors_of(_node: Any, _run_id: str, *, epoch: int) -> list[PeerID]:
            return await self.swarm.donors()

        monkeypatch.setattr(module, "donors_of", donors_of)
        monkeypatch.setattr(
            module.DonorStub, "get_stub", lambda _p2p, peer, namespace: self.swarm.stub(peer)
        )
        self.snapshots = Snapshots(self.session, SPEC, None)

    async def looks(self, epoch: int) -> Any:
        """Look at a run in such an epoch; returns what the state says of the snapshot."""
        self.session.store.dispatch(RunObserved(run=Run(epoch=epoch, samples=0, trainers=1)))
        self.snapshots._not_before = 0.0
        await self.snapshots._look()
        return self.session.store.state.snapshot


def donor(epoch: int = 20, *, steps: int = 40, spoil: Callable[[Any], None] | None = None) -> Donor:
    state = SmallState(steps=steps)
    if spoil is not None:
        spoil(state.model.weight.data)
    content = bytes(state.content())
    layout = state.layout
    header = Header(
        epoch=epoch, size=len(content), layout=layout.digest, parameters_end=layout.parameters_end
    )
    return Donor(content=content, snapshot=header)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Door]:
    return lambda *donors: Door(tmp_path, monkeypatch, *donors)


async def test_it_takes_one_every_so_many_epochs(made: Callable[..., Door]) -> None:
    giver = donor(epoch=20)
    door = made(giver)
    assert (await door.looks(4)) is None
    assert giver.asked == []
    found = await door.looks(20)
    assert (found.epoch, found.size, found.problem) == (20, len(giver.content), "")
    asked = len(giver.asked)
    await door.looks(24)
    assert len(giver.asked) == asked
    giver.snapshot = donor(epoch=25).snapshot
    assert (await door.looks(25)).epoch == 25


async def test_a_copy_that_is_no_newer_is_no_problem_and_is_asked_for_again(
    made: Callable[..., Door],
) -> None:
    giver = donor(epoch=20)
    door = made(giver)
    await door.looks(20)
    found = await door.looks(30)
    assert (found.epoch, found.problem) == (20, "")
    giver.snapshot = donor(epoch=30).snapshot
    assert (await door.looks(30)).epoch == 30


async def test_it_serves_it_by_each_daemon_that_it_has(made: Callable[..., Door]) -> None:
    door = made(donor())
    await door.looks(20)
    assert door.node.handlers == ["tiny::SnapshotServicer.rpc_send_state"]
    kept = door.snapshots._servicer.snapshot  # type: ignore[union-attr]
    assert kept is not None
    assert kept.read(0, 2**20) == door.swarm.by_peer[next(iter(door.swarm.by_peer))].content
    door.session.peer.node = other = Node()  # type: ignore[assignment]
    await door.looks(21)
    assert other.handlers == door.node.handlers
    assert door.snapshots._servicer.snapshot == kept  # type: ignore[union-attr]


async def test_what_is_kept_is_served_after_a_start(made: Callable[..., Door]) -> None:
    door = made(donor())
    await door.looks(20)
    door.session.store.dispatch(SnapshotChanged(snapshot=DoorSnapshot()))
    told = asyncio.Event()
    watching = door.session.store.subscribe(
        lambda state: told.set() if state.snapshot and state.snapshot.epoch == 20 else None
    )
    again = Snapshots(door.session, SPEC, None)
    again.open()
    async with asyncio.timeout(20):
        await told.wait()
    watching.close()
    await again.close()
    await again.close()  # may be called twice


@pytest.mark.parametrize(
    "hostile",
    [
        donor(spoil=lambda weight: weight.fill_(float("nan"))),
        donor(epoch=20 + MOST_AHEAD + 1),
        Donor(content=b"", snapshot=Header(epoch=20, size=2**50, layout="x", parameters_end=8)),
        Donor(content=b"", snapshot=Header(epoch=20, size=8, layout="x", parameters_end=800)),
        Donor(content=bytes(8), snapshot=Header(epoch=20, size=800, layout="x", parameters_end=8)),
        Donor(content=b"", refusal=StateRefusal.STRANGER),
        Donor(content=b"", snapshot=Header(epoch=20, size=8)),
        Donor(content=b"", is_mute=True),
    ],
    ids=["nan", "ahead", "huge", "odd", "short", "unwilling", "no layout", "mute"],
)
async def test_what_is_no_state_is_not_kept(made: Callable[..., Door], hostile: Donor) -> None:
    found = await made(hostile).looks(20)
    assert found.epoch is None
    assert found.problem
    assert (await made(hostile, donor(), donor()).looks(20)).epoch == 20


async def test_from_who_is_far_ahead_nothing_is_downloaded(made: Callable[..., Door]) -> None:
    ahead = donor(epoch=20 + MOST_AHEAD + 1)
    assert ahead.snapshot is not None  # it says its epoch at once
    assert ahead.snapshot.epoch == 20 + MOST_AHEAD + 1
    await made(ahead).looks(20)
    assert ahead.asked
    assert not any(each.ranges for each in ahead.asked)


async def test_a_trainer_that_takes_too_long_is_left_for_another(
    made: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", 0.0)
    slow = donor()

    async def waits(_request: Any) -> Any:
        await asyncio.Event().wait()

    asked = slow.rpc_send_state
    slow.rpc_send_state = lambda request: (  # type: ignore[method-assign]
        waits(request) if Wanted.parse(request.metadata).ranges else asked(request)
    )
    found = await made(slow).looks(20)
    assert (found.epoch, found.problem) == (None, "it is very slow")


async def test_of_three_the_two_that_agree_are_believed(made: Callable[..., Door]) -> None:
    garbage = donor(spoil=lambda weight: weight.mul_(-100.0))
    honest = donor()
    door = made(garbage, honest, donor(steps=41))
    assert (await door.looks(20)).epoch == 20
    kept = door.snapshots._kept
    assert kept is not None
    assert kept.read(0, 2**20) == honest.content


async def test_a_state_of_a_layout_that_nobody_else_has_is_not_kept(
    made: Callable[..., Door],
) -> None:
    odd, honest = donor(), donor()
    assert odd.snapshot is not None
    odd.content = bytes(len(odd.content))
    odd.snapshot = msgspec.structs.replace(odd.snapshot, layout="x")
    door = made(odd, honest, donor(steps=41))
    await door.looks(20)
    kept = door.snapshots._kept
    assert kept is not None
    assert kept.read(0, 2**20) == honest.content


async def test_a_trainer_that_falls_back_behind_what_is_kept_is_not_believed(
    made: Callable[..., Door],
) -> None:
    giver = donor(epoch=20)
    door = made(giver)
    await door.looks(20)
    giver.snapshot, giver.epoch_with_bytes = donor(epoch=30).snapshot, 3
    found = await door.looks(30)
    assert found.epoch == 20
    assert "another epoch" in found.problem


async def test_a_full_disk_is_said_and_it_goes_on(
    made: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    door = made(donor())
    await door.looks(20)

    @contextmanager
    def full(_size: int) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield

    next(iter(door.swarm.by_peer.values())).snapshot = donor(epoch=30).snapshot
    with monkeypatch.context() as patch:
        patch.setattr(door.snapshots._folder, "receiving", full)
        found = await door.looks(30)
        assert (found.epoch, found.problem) == (20, "the disk of the data folder is full")
    found = await door.looks(30)
    assert (found.epoch, found.problem) == (30, "")


async def test_it_signs_with_the_organisers_key(tmp_path: Path, made: Callable[..., Door]) -> None:
    door = made(donor())
    organisation = door.session.organisation
    assert await organisation.key_for(SPEC) is None
    key = signing.MachineKey.load_or_create(OrganiserFiles(tmp_path).key)
    spec = signed(SPEC, key, name="Ours", closed=False)
    door.snapshots = Snapshots(door.session, spec, await organisation.key_for(spec))
    await door.looks(20)
    kept = door.snapshots._kept
    assert kept is not None
    signature = signing.from_text(kept.header.signature)
    assert signing.verify(key.public_key, kept.header.to_sign("tiny"), signature)
    assert not signing.verify(key.public_key, kept.header.to_sign("other"), signature)
    OrganiserFiles(tmp_path).key.unlink()
    with pytest.raises(OrganiserError):
        await organisation.key_for(spec)


async def test_in_a_closed_swarm_it_says_that_it_is_no_member(
    tmp_path: Path, made: Callable[..., Door]
) -> None:
    door = made(donor())
    key = signing.MachineKey.load_or_create(OrganiserFiles(tmp_path).key)
    spec = signed(SPEC, key, name="Ours", closed=True)
    await door.session.organisation.enter(spec)
    door.snapshots = Snapshots(door.session, spec, key)
    found = await door.looks(20)
    assert (found.epoch, "closed" in found.problem) == (None, True)


async def test_it_looks_again_and_again(made: Callable[..., Door]) -> None:
    door = made(donor())
    told = asyncio.Event()
    watching = door.session.store.subscribe(
        lambda state: told.set() if state.snapshot and state.snapshot.epoch else None
    )
    door.session.store.dispatch(RunObserved(run=Run(epoch=20, samples=0, trainers=1)))
    door.snapshots.open()
    async with asyncio.timeout(20):
        await told.wait()
    watching.close()
    await door.snapshots.close()
