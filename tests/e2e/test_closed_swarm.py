"""A closed swarm of real processes: its members train, strangers and forgers gain nothing."""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app import protocol
from app.common.signing import MachineKey
from app.p2p.run_records import load_identity
from app.spec import schema
from app.spec.signing import signed
from tests.support.organiser.organisers import admission_by, organiser, sealed
from tests.support.processes.apps import ROOT, App, StartApp, tiny_spec
from tests.support.processes.attackers import hostile
from tests.support.processes.workers import Worker

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RUN = "tiny"
ROUNDS = 3


# --- trainers


@dataclass
class Swarm:
    """Two trainers that train together, and the organiser's key."""

    key: MachineKey
    first: Worker
    second: Worker
    serial: int = 1

    def peer_id(self, worker: Worker) -> str:
        return load_identity(worker.folder / "trainer.pem").peer_id

    def admit(self, *peer_ids: str) -> None:
        """Give both a roster of these."""
        self.serial += 1
        roster = sealed(self.key, *peer_ids, serial=self.serial, run_id=RUN)
        for worker in (self.first, self.second):
            assert admission_by(self.key, worker.folder / "roster", RUN).keep(roster)

    @property
    def addresses(self) -> tuple[str, ...]:
        (ready,) = self.first.all(protocol.Ready)
        return ready.addresses


@pytest.fixture
async def swarm(hire: Callable[[], Worker]) -> Swarm:
    made = Swarm(organiser(), hire(), hire())
    made.admit(made.peer_id(made.first), made.peer_id(made.second))
    spec = signed(schema.parse(tiny_spec()), made.key, name="Ada", closed=True).to_json()
    await made.first.start(spec=spec, roster_file=str(made.first.folder / "roster"))
    await made.second.start(
        spec=spec,
        roster_file=str(made.second.folder / "roster"),
        initial_peers=made.addresses,
    )
    await made.first.until(lambda: made.first.rounds_with(2) >= 1)
    return made


async def more_rounds(swarm: Swarm, peers: int) -> None:
    before = swarm.first.rounds_with(peers)
    await swarm.first.until(lambda: swarm.first.rounds_with(peers) >= before + ROUNDS)


@pytest.mark.slow
async def test_a_stranger_is_given_nothing(swarm: Swarm, tmp_path: Path) -> None:
    async with hostile("thief", swarm.addresses, tmp_path / "thief.log") as given:
        assert given == "0 bytes of state, stranger, BAD_GROUP_ID\n"


@pytest.mark.slow
async def test_a_stranger_takes_part_in_no_round(swarm: Swarm, tmp_path: Path) -> None:
    log = tmp_path / "stranger.log"
    async with hostile("plain", swarm.addresses, log):
        await more_rounds(swarm, 2)
    assert swarm.first.rounds_with(3) == swarm.second.rounds_with(3) == 0
    for worker in (swarm.first, swarm.second):
        assert not worker.all(protocol.TrainerProblem)


@pytest.mark.slow
async def test_a_plain_member_takes_part_until_it_is_removed(swarm: Swarm, tmp_path: Path) -> None:
    identity = tmp_path / "plain.pem"
    members = swarm.peer_id(swarm.first), swarm.peer_id(swarm.second)
    swarm.admit(*members, load_identity(identity).peer_id)
    log = tmp_path / "plain.log"
    async with hostile("plain", swarm.addresses, log, COTRAIN_IDENTITY=str(identity)):
        await swarm.first.until(lambda: swarm.first.rounds_with(3) >= 1)
        swarm.admit(*members)
        rounds = len(swarm.first.all(protocol.RoundEnded))
        await swarm.first.until(lambda: len(swarm.first.all(protocol.RoundEnded)) >= rounds + 2)
        after = swarm.first.all(protocol.RoundEnded)[rounds + 1 :]
        await more_rounds(swarm, 2)
        assert all(each.peers < 3 for each in after)


# --- apps


async def command(folder: Path, *arguments: str) -> str:
    """What a command of the organiser printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "main.py"), *arguments, "--data-dir", str(folder)),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


async def joins(start_app: StartApp, invite: Path, door: App, name: str) -> App:
    """An app that enters the organiser's swarm."""
    line = await door.wait_for(lambda each: bool(each["addresses"]))
    spec: dict[str, Any] = json.loads(invite.read_text())
    return await start_app(spec=spec | {"initial_peers": line["addresses"]}, name=name)


@pytest.mark.slow
async def test_who_may_take_part_is_changed_while_all_train(
    start_app: StartApp, tmp_path: Path
) -> None:
    plain, invite, home = tmp_path / "plain.cotrain", tmp_path / "signed.cotrain", tmp_path / "ada"
    plain.write_text(json.dumps(tiny_spec()))
    signing = ("sign", str(plain), "--organiser", "Ada", "--closed", "--out", str(invite))
    await command(home, *signing)
    ada = await start_app("--swarm", str(invite), name="ada")
    await ada.trains()
    bob = await joins(start_app, invite, ada, "bob")
    await bob.said("this swarm is closed: send your code ")
    code = bob.errors.partition("send your code ")[2].split()[0]
    await bob.wait_for(lambda line: line["paused_by"] == ["roster"])
    first = (home / "rosters" / f"{RUN}.roster").read_bytes()
    await command(home, "members", "add", code, "--label", "Bob")
    await bob.trains(peers=2)
    assert "the organiser has added this machine" in bob.errors

    (tmp_path / "old").write_bytes(first)
    forger = organiser()
    (tmp_path / "forged").write_bytes(sealed(forger, code, serial=2**52, run_id=RUN))
    rosters = f"{tmp_path / 'old'}:{tmp_path / 'forged'}"
    (entry, *_) = ada.last["addresses"]
    async with hostile("roster", [entry], tmp_path / "roster.log", COTRAIN_ROSTERS=rosters):
        epoch = bob.last["epoch"]
        await bob.trains(epoch=epoch + 5, peers=2)
        assert "roster" not in {each for line in bob.lines[-5:] for each in line["paused_by"]}
        await command(home, "members", "remove", code)
        await bob.wait_for(lambda line: line["paused_by"] == ["roster"], after=len(bob.lines) - 1)
        await bob.wait_for(lambda line: line["phase"] == "paused", after=len(bob.lines) - 1)
    assert (await command(home, "members", "list")).count("Qm") == 1
