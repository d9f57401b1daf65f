"""A lab's admin and two machines: real peers, and commands over their swarm."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app import cli, protocol
from app.commands.lab import LabAsked
from app.common.paths import Folders
from app.headless import commanding
from app.headless.commanding import machines_of
from app.lab.admin import LabAdmin, Silence
from app.lab.messages import (
    MOST_ANSWER_BYTES,
    PROTOCOL,
    ChangeSettings,
    LabVerdict,
    MoveToSwarm,
    StartTraining,
    digest_of,
    new_order,
    open_answer,
    seal_order,
)
from app.p2p.streams import frames
from app.settings.settings import Settings
from app.spec import invite
from app.spec import schema as spec
from app.state.state import Phase
from app.swarm.fleet import Machine
from app.timeline.timeline import HappeningKind
from app.training import supervisor
from tests.support.lab.observers import Observer, admin_of, lab_key
from tests.support.machine.machines import new_key
from tests.support.network.networks import Internet
from tests.support.network.wide import invitation_of, wide_spec
from tests.support.processes.apps import PATIENCE, ROOT, StartApp, tiny_spec

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.usefixtures("patient_calls"),
    # hivemind's own streams to a daemon that is gone
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Lab:
    """A paired machine, one that isn't, and the admin."""

    def __init__(self, observers: list[Observer], admin: LabAdmin, node: Any, home: Path) -> None:
        self.paired, self.stranger = observers
        self.admin, self.node, self.home = admin, node, home

    async def machines(self) -> dict[str, Machine]:
        """By alias, once both show themselves."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = {each.record.alias: each for each in await machines_of(self.node, "tiny")}
                if len(found) == 2:
                    return found
                await asyncio.sleep(0.2)

    async def send(self, machine: Machine, sealed: bytes) -> bytes:
        """What anybody can send to a machine."""
        return await frames.ask(
            self.node.p2p,
            machine.record.peer_ids[0],
            protocol=PROTOCOL,
            message=sealed,
            most=MOST_ANSWER_BYTES,
            seconds=PATIENCE,
        )


@pytest.fixture
async def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr("app.swarm.fleet_sync.PUBLISH_SECONDS", 0.5)
    monkeypatch.setattr("app.lab.service.LOOK_SECONDS", 0.1)
    monkeypatch.setattr("app.lab.desk.ANSWER_SECONDS", PATIENCE)  # else it would say: begun
    monkeypatch.setattr("app.lab.admin.ANSWER_SECONDS", PATIENCE)
    home = tmp_path / "admin"
    key = lab_key(home).public_key
    observers = [Observer(tmp_path, "paired", key), Observer(tmp_path, "stranger", "")]
    try:
        entries = await observers[0].open(())
        await observers[1].open(entries)
        async with admin_of(home, entries) as (admin, node):
            yield Lab(observers, admin, node, home)
    finally:
        for each in observers:
            await each.close()


async def test_the_paired_machine_obeys_once_and_the_other_one_cannot_be_called(lab: Lab) -> None:
    machines = await lab.machines()
    command = ChangeSettings(values={"max_temperature": "77", "threads": "3"})
    both = await lab.admin.command([machines["paired"], machines["stranger"]], command)
    assert [each.outcome for each in both] == [LabVerdict.DONE, Silence.UNPAIRED]
    settings = lab.paired.session.store.settings
    assert (settings.terms.max_temperature, settings.threads) == (77, 3)
    last = lab.paired.session.timeline.last[-1]
    assert last.kind is HappeningKind.COMMANDED
    assert "max_temperature=77" in last.detail

    (refused,) = await lab.admin.command(
        [machines["paired"]], ChangeSettings(values={"backend_url": "https://evil.example"})
    )
    assert refused.outcome is LabVerdict.REFUSED
    assert "backend_url" in refused.text

    # forged, replayed, expired
    target = machines["paired"]
    key = lab_key(lab.home)
    fresh = new_order("tiny", target.public_key, 2**52, StartTraining())
    assert await lab.send(target, seal_order(fresh, new_key())) == b"key"
    again = new_order("tiny", target.public_key, 2**52, ChangeSettings(values={"threads": "4"}))
    sealed = seal_order(again, key)
    first = await lab.send(target, sealed)
    lab.paired.session.store.replace_settings(settings)
    assert await lab.send(target, sealed) == first  # the stored answer
    assert lab.paired.session.store.settings.threads == 3  # and nothing was done again
    old = new_order("tiny", target.public_key, 1, StartTraining())
    answer = open_answer(
        await lab.send(target, seal_order(old, key)),
        target.public_key,
        digest_of(seal_order(old, key)),
    )
    assert answer is not None
    assert answer.verdict is LabVerdict.REFUSED
    outcomes = [line["outcome"] for line in lab.paired.audited()]
    assert outcomes.count("forged") == 1
    assert "asked again" in outcomes
    assert (lab.home / "logs" / "lab-admin-audit.log").read_text().count('"outcome"') == 3


TRAINS = f"""
import json, os, sys
def say(kind, **fields):
    print(json.dumps({{"type": kind, **fields}}), flush=True)
say("Hello", version={protocol.VERSION}, pid=os.getpid())
for line in sys.stdin:
    command = json.loads(line)
    say("Ack", id=command["id"])
    phase = {{"Start": "training", "Pause": "paused", "Resume": "training"}}.get(command["type"])
    if phase:
        say("PhaseChanged", phase=phase)
    if command["type"] == "Stop":
        say("Ended", reason="stopped")
        break
"""
"""A small child in the trainer's place."""


async def test_training_is_started_paused_and_stopped_from_the_command_line(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    child = tmp_path / "child.py"
    child.write_text(TRAINS, encoding="utf-8")
    monkeypatch.setattr(
        supervisor, "command_line", lambda *_rest: [sys.executable, "-S", str(child)]
    )
    await lab.machines()
    machine, store = lab.paired, lab.paired.session.store
    shared = machine.session.swarm.invitation()
    assert shared is not None
    file = tmp_path / "tiny.cotrain"
    invite.save(shared, file)
    folders = Folders.under(lab.home)

    async def told(*words: str) -> tuple[int, list[dict[str, Any]]]:
        line = ("lab", *words, "--swarm", str(file), "--json")
        asked = cli.parse(line).command
        assert isinstance(asked, LabAsked)
        settings = Settings.model_construct()
        status = await asyncio.to_thread(commanding.run, asked, folders, settings)
        return status, [json.loads(each) for each in capsys.readouterr().out.splitlines()]

    async with asyncio.timeout(PATIENCE):
        while True:  # each asks anew
            status, lines = await told("list")
            assert status == 0
            if {each["alias"] for each in lines} == {"paired", "stranger"}:
                break
    status, lines = await told("pause", "5", "paired")
    assert (status, lines[0]["outcome"]) == (1, "refused")
    status, lines = await told("start", "paired")
    assert (status, [each["outcome"] for each in lines]) == (0, ["done"])
    status, lines = await told("pause", "5", lines[0]["machine"][:8])
    assert (status, store.state.phase) == (0, Phase.PAUSED)
    assert store.state.paused_until is not None
    status, lines = await told("stop", "--all")
    assert status == 1  # one isn't paired
    assert {each["alias"]: each["outcome"] for each in lines} == {
        "paired": "done",
        "stranger": "unpaired",
    }
    assert store.state.phase is Phase.WATCHING


async def test_a_machine_moves_to_another_swarm_and_answers_before(lab: Lab) -> None:
    machines = await lab.machines()
    other = spec.parse(tiny_spec(run_id="other"))
    moving = MoveToSwarm(invite=invite.as_link(other))
    (moved,) = await lab.admin.command([machines["paired"]], moving)
    assert moved.outcome is LabVerdict.DONE
    store = lab.paired.session.store
    async with asyncio.timeout(PATIENCE):
        while store.state.swarm is None or store.state.swarm.run_id != "other":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_machine_behind_a_nat_obeys_by_way_of_a_relay(
    net: Internet, start_app: StartApp, tmp_path: Path
) -> None:
    """A door in the open relays for it. The admin has a host of his own."""
    home = tmp_path / "admin"
    key = lab_key(home).public_key
    door = await start_app("--bootstrap", spec=wide_spec(), host=net.host("door"))
    file = await invitation_of(door, tmp_path / "wide.cotrain")
    hidden = await start_app(
        *("--swarm", str(file), "--lab-key", key, "--alias", "hidden", "--reachability", "relay"),
        host=net.host_behind_nat("hid"),
    )
    await hidden.wait_for(lambda line: line["phase"] == "training")
    await hidden.wait_for(lambda line: "/p2p-circuit" in " ".join(line["addresses"]))
    desk = net.host("desk")

    async def told(*words: str) -> tuple[int, str]:
        command = (sys.executable, str(ROOT / "main.py"), "lab", *words, "--json")
        command = (*command, "--swarm", str(file), "--data-dir", str(home))
        process = await asyncio.create_subprocess_exec(
            *desk.within(*command), stdout=asyncio.subprocess.PIPE
        )
        said, _errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    async with asyncio.timeout(PATIENCE):
        while "hidden" not in (await told("list"))[1]:  # noqa: ASYNC110  each asks anew
            await asyncio.sleep(1.0)
    status, said = await told("stop", "hidden")
    assert (status, json.loads(said)["outcome"]) == (0, "done"), said
    await hidden.wait_for(lambda line: line["phase"] == "watching", after=len(hidden.lines) - 1)
    status, said = await told("start", "hidden")
    assert status == 0, said
    assert hidden.process.returncode is None  # it stays, to be commanded
