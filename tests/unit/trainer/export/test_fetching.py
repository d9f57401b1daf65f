"""A swarm's weights on a machine that doesn't train: whose are taken, and how they are kept."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from hivemind.p2p import PeerID

from app.common import signing
from app.common.errors import ExportError
from app.p2p.sightings import Run
from app.p2p.states.comparing import MOST_AHEAD
from app.p2p.states.download import DonorError
from app.p2p.states.wire import MOST_EPOCH, Header, StateRefusal
from app.spec.schema import SwarmSpec
from app.spec.signing import signed
from app.takeout.messages import ExportProgress, FetchWeights
from app.trainer.checkpoint import Checkpoint, CheckpointFolder
from app.trainer.export import fetching as module
from app.trainer.export.fetching import _Fetching, _fill, _keep
from app.trainer.joining.layout import StateLayout
from app.trainer.model.adapters import state_of, trained
from app.trainer.model.build import model_to_fill
from tests.support.organiser.organisers import organiser
from tests.support.training.models import built, spec_of
from tests.support.training.states import Donor, SmallSwarm

SPEC = spec_of(n_layer=1)
EPOCH = 20
DOOR = "QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX"
ORDER = FetchWeights(
    spec={},
    initial_peers=(f"/ip4/127.0.0.1/tcp/1/p2p/{DOOR}",),
    identity_file="",
    roster_file="",
    cache_dir="",
    folder="",
)


class Swarm:
    """Donors and a door, and what a machine fetches of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spec: SwarmSpec, *donors: Donor) -> None:
        self.donors = SmallSwarm.of(*donors)
        self.door: Donor | None = None
        self.said: list[Any] = []
        self.run: Run | None = Run(epoch=EPOCH, samples=0, trainers=1)
        self.node = SimpleNamespace(p2p=None, peer_id=PeerID(b"\x12\x20" + bytes(32)))
        self.fetching = _Fetching(ORDER, spec, size_of(spec), self.said.append)
        monkeypatch.setattr(module, "donors_of", self.donors_of)
        monkeypatch.setattr(
            module.DonorStub, "get_stub", lambda _p2p, peer, namespace: self.donors.stub(peer)
        )
        monkeypatch.setattr(module.Doors, "stub", lambda _self, _p2p, _peer: self.door)

    async def donors_of(self, _node: Any, _run_id: str, *, epoch: int) -> list[PeerID]:
        return await self.donors.donors()

    async def observe(self) -> Run | None:
        return self.run

    async def from_trainers(self) -> Any:
        return await self.fetching._from_trainers(self.node, epoch=EPOCH)

    async def from_door(self, door: Donor) -> Any:
        self.door = door
        return await self.fetching._from_doors(self.node, self.run)


def tensors_of(spec: SwarmSpec, *, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(each.shape, generator=generator) for each in trained(built(spec))]


def size_of(spec: SwarmSpec) -> int:
    return 4 * sum(each.numel() for each in trained(built(spec)))


def donor(*, seed: int = 0, epoch: int = EPOCH, spoil: float | None = None) -> Donor:
    """Its state is the parameters and as many statistics."""
    parameters = tensors_of(SPEC, seed=seed)
    if spoil is not None:
        parameters[0].view(-1)[0] = spoil
    tensors = [*parameters, *map(torch.ones_like, parameters)]
    layout = StateLayout.of(tensors, parameters=len(parameters))
    content = bytes(layout.pack(tensors))
    header = Header(
        epoch=epoch,
        size=len(content),
        layout=layout.digest,
        parameters_end=layout.parameters_end,
        digest=hashlib.sha256(content).hexdigest(),
    )
    return Donor(content=content, epoch=epoch, snapshot=header)


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Swarm]:
    return lambda *donors, spec=SPEC: Swarm(monkeypatch, spec, *donors)


async def test_the_parameters_alone_are_fetched_from_a_trainer(swarm: Callable[..., Swarm]) -> None:
    giver = donor()
    made = swarm(giver)
    found = await made.from_trainers()
    assert (found.epoch, found.from_door) == (EPOCH, False)
    assert found.content == giver.content[: size_of(SPEC)]
    last = made.said[-1]
    assert isinstance(last, ExportProgress)
    assert last.done == last.size == size_of(SPEC)


async def test_of_three_the_two_that_agree_are_believed(swarm: Callable[..., Swarm]) -> None:
    honest = donor()
    found = await swarm(donor(seed=1), honest, donor()).from_trainers()
    assert found.content == honest.content[: size_of(SPEC)]


@pytest.mark.parametrize(
    "wrong",
    [
        donor(epoch=EPOCH + MOST_AHEAD + 1),
        Donor(content=b"", refusal=StateRefusal.STRANGER),
        Donor(content=bytes(8), snapshot=Header(epoch=EPOCH, size=8, layout="x", parameters_end=8)),
        donor(spoil=float("nan")),
        Donor(content=b"", is_mute=True),
    ],
    ids=["ahead", "stranger", "other model", "nan", "mute"],
)
async def test_another_trainer_is_asked(swarm: Callable[..., Swarm], wrong: Donor) -> None:
    with pytest.raises(DonorError):
        await swarm(wrong).from_trainers()
    honest = donor()
    found = await swarm(wrong, honest, donor()).from_trainers()
    assert (found.epoch, found.content) == (EPOCH, honest.content[: size_of(SPEC)])


async def test_from_who_is_far_ahead_nothing_is_downloaded(swarm: Callable[..., Swarm]) -> None:
    ahead = donor(epoch=EPOCH + MOST_AHEAD + 1)
    with pytest.raises(DonorError):
        await swarm(ahead).from_trainers()
    assert ahead.asked
    assert not any(each.ranges for each in ahead.asked)


async def test_a_layout_that_nobody_else_has_hides_nothing(swarm: Callable[..., Swarm]) -> None:
    odd, honest = donor(seed=1), donor()
    assert odd.snapshot is not None
    odd.snapshot = msgspec.structs.replace(odd.snapshot, layout="x")
    found = await swarm(odd, honest, donor()).from_trainers()
    assert found.content == honest.content[: size_of(SPEC)]


async def test_a_door_is_believed_if_its_bytes_are_what_it_says(
    swarm: Callable[..., Swarm],
) -> None:
    giver = donor(epoch=7)
    made = swarm()
    found = await made.from_door(giver)
    assert (found.epoch, found.from_door) == (7, True)
    assert found.content[: size_of(SPEC)] == giver.content[: size_of(SPEC)]
    giver.epoch_with_bytes = 9
    assert (await made.from_door(giver)).epoch == 7
    giver.content = giver.content[:-1] + b"\x7f"
    assert await made.from_door(giver) is None
    assert await made.from_door(donor(spoil=float("nan"))) is None
    assert await made.from_door(donor(epoch=MOST_EPOCH + 1)) is None
    assert await made.from_door(Donor(content=b"", refusal=StateRefusal.UNWILLING)) is None


async def test_a_door_is_not_far_ahead_of_who_trains(swarm: Callable[..., Swarm]) -> None:
    made, ahead = swarm(), donor(epoch=EPOCH + MOST_AHEAD + 1)
    assert await made.from_door(ahead) is None
    assert not any(each.ranges for each in ahead.asked)
    made.run = None  # nobody trains: the door alone knows how far the run has come
    assert (await made.from_door(ahead)).epoch == EPOCH + MOST_AHEAD + 1


async def test_where_there_is_an_organiser_a_door_needs_their_word(
    swarm: Callable[..., Swarm],
) -> None:
    key = organiser()
    spec = signed(SPEC, key, name="Ours", closed=False)
    made, giver = swarm(spec=spec), donor()
    assert await made.from_door(giver) is None
    assert giver.snapshot is not None
    signature = signing.as_text(key.sign(giver.snapshot.to_sign(spec.run_id)))
    giver.snapshot = msgspec.structs.replace(giver.snapshot, signature=signature)
    assert (await made.from_door(giver)).epoch == EPOCH


async def test_when_nobody_gives_them_it_says_why(
    swarm: Callable[..., Swarm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    made = swarm()
    made.door = Donor(content=b"", refusal=StateRefusal.UNWILLING)
    with pytest.raises(ExportError, match="nobody offers"):
        await made.fetching._from_anybody(SimpleNamespace(node=made.node, observe=made.observe))
    made.door = donor()
    peer: Any = SimpleNamespace(node=made.node, observe=made.observe)
    assert (await made.fetching._from_anybody(peer)).from_door


def test_a_closed_swarm_that_is_not_known_yet_is_not_entered(
    swarm: Callable[..., Swarm], tmp_path: Path
) -> None:
    spec = signed(SPEC, organiser(), name="Ours", closed=True)
    order = msgspec.structs.replace(ORDER, roster_file=str(tmp_path / "none"))
    with pytest.raises(ExportError, match="closed"):
        asyncio.run(_Fetching(order, spec, 4, lambda _said: None).run())


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_what_arrives_is_the_model(kind: str, tmp_path: Path) -> None:
    spec = spec_of(kind)
    model = built(spec)
    layout = StateLayout.of(trained(model), parameters=len(trained(model)))
    made = model_to_fill(spec, vocabulary_size=256)
    _fill(trained(made), layout.pack(trained(model)))
    tokens = torch.arange(8).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(made(tokens).logits, model.eval()(tokens).logits)
    _keep(checkpoint(made, 9), tmp_path / "watched", spec)
    kept = CheckpointFolder(tmp_path / "watched", spec).load_newest()
    assert kept is not None
    assert kept.epoch == 9
    assert kept.model.keys() == state_of(model).keys()


def checkpoint(model: torch.nn.Module, epoch: int) -> Checkpoint:
    return Checkpoint(epoch=epoch, position=0, model=state_of(model), optimizer={})


def test_what_is_fetched_takes_the_place_of_what_was(tmp_path: Path) -> None:
    model = built(SPEC)
    (tmp_path / "new-left").mkdir()
    for epoch in (10**12, 9):  # the first was a lie
        _keep(checkpoint(model, epoch), tmp_path, SPEC)
        (kept,) = CheckpointFolder(tmp_path, SPEC).kept()
        assert f"epoch-{epoch:09d}" in kept.name
    assert list(tmp_path.glob("new-*")) == []
    with torch.no_grad():
        trained(model)[0].fill_(float("nan"))
    with pytest.raises(ExportError, match="not finite"):
        _keep(checkpoint(model, 10), tmp_path, SPEC)
    assert CheckpointFolder(tmp_path, SPEC).kept() == [kept]
