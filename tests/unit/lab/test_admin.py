"""The admin's side: asks again for a lost answer, and believes the machine's key alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.common.errors import LabError
from app.common.logs import AuditLog
from app.common.paths import Folders
from app.lab import admin as admins
from app.lab.admin import CommandOutcome, LabAdmin, Silence, reachable
from app.lab.asking import admin_in, change_of, move_to, own_key, pause_of
from app.lab.desk import CommandDesk
from app.lab.memory import CommandMemory
from app.lab.messages import (
    LabCommand,
    LabVerdict,
    StopTraining,
    digest_of,
    new_answer,
    seal_answer,
)
from app.p2p.calls import CallError
from app.p2p.machine_records import LEFT
from app.settings.settings import Settings
from app.spec import invite, schema
from app.state.facts import Swarm
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.fleet import Machine
from tests.support.machine.machines import new_key, record
from tests.support.training.specs import SMALLEST

KEY = new_key()
SWARM = Swarm(run_id="run", title="", model_type="gpt2", dataset="", target_batch_size=1)


class Hands:
    def __init__(self) -> None:
        self.did: list[LabCommand] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def carry_out(self, command: LabCommand) -> str:
        self.did.append(command)
        await self.may_end.wait()
        return ""


class Line:
    """The network between an admin and one machine's desk. lose: how many answers get lost."""

    def __init__(self, desk: CommandDesk) -> None:
        self._desk = desk
        self.lose = 0
        self.asked = 0
        self.instead: Callable[[bytes], bytes] | None = None

    async def ask(self, _p2p: Any, peer_id: str, *, message: bytes, **_rest: Any) -> bytes:
        self.asked += 1
        if self.instead is not None:
            return self.instead(message)
        answer = await self._desk.answer(peer_id, message)
        if self.lose:
            self.lose -= 1
            raise CallError("the connection is gone")
        return answer


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.under(tmp_path / "admin")
    made.create()
    own_key(made)
    return made


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
async def line(
    tmp_path: Path, folders: Folders, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Line]:
    lab = own_key(folders).public_key
    store = Store(
        settings=Settings.model_construct(lab_key=lab), state=ContributorState(swarm=SWARM)
    )
    audit = AuditLog(tmp_path)
    memory = CommandMemory(tmp_path / "commands.json")
    desk = CommandDesk(store, key=KEY, memory=memory, hands=hands, audit=audit)
    await desk.begin(lab)
    made = Line(desk)
    monkeypatch.setattr(admins.frames, "ask", made.ask)
    monkeypatch.setattr(admins, "PAUSE_SECONDS", 0.0)
    yield made
    await desk.close()
    audit.close()


@pytest.fixture
async def admin(folders: Folders, line: Line) -> AsyncIterator[LabAdmin]:
    async with admin_in(folders, node=SimpleNamespace(p2p=None), run_id="run") as made:
        yield made


def machine(**changes: Any) -> Machine:
    return Machine(
        public_key=KEY.public_key,
        record=record(**changes),
        first_seen=0.0,
        last_seen=0.0,
        concerns=(),
    )


async def told(admin: LabAdmin, *, wait: float = 0.0) -> CommandOutcome:
    (outcome,) = await admin.command([machine()], StopTraining(), wait=wait)
    return outcome


async def test_a_lost_answer_is_asked_for_again_and_nothing_is_done_twice(
    admin: LabAdmin, line: Line, hands: Hands, folders: Folders
) -> None:
    line.lose = 2
    assert (await told(admin)).is_done
    assert (line.asked, len(hands.did)) == (3, 1)
    lines = (folders.logs / "lab-admin-audit.log").read_text().splitlines()
    assert [json.loads(each)["outcome"] for each in lines] == ["done"]


async def test_it_gives_up_on_who_does_not_answer(admin: LabAdmin, line: Line) -> None:
    line.lose = 10
    outcome = await told(admin)
    assert outcome.outcome is Silence.UNREACHABLE
    assert "connection is gone" in outcome.text
    assert line.asked == admins.TRIES


async def test_what_has_begun_is_waited_for(
    admin: LabAdmin, line: Line, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.lab.desk.ANSWER_SECONDS", 0.01)
    hands.may_end.clear()
    assert (await told(admin)).outcome is LabVerdict.BEGUN
    asked = line.asked
    waiting = asyncio.create_task(told(admin, wait=30.0))
    while line.asked < asked + 3:  # noqa: ASYNC110  each question is one more
        await asyncio.sleep(0)
    hands.may_end.set()
    assert (await waiting).is_done
    assert len(hands.did) == 2


async def test_who_is_waited_for_holds_nobody_up(
    admin: LabAdmin, line: Line, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.lab.desk.ANSWER_SECONDS", 0.01)
    admin._places = asyncio.Semaphore(1)
    hands.may_end.clear()
    waiting = asyncio.create_task(told(admin, wait=30.0))
    while line.asked < 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert (await told(admin)).outcome is LabVerdict.BEGUN
    assert not waiting.done()
    hands.may_end.set()
    assert (await waiting).is_done


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (b"key", Silence.UNPAIRED),
        (b"busy", Silence.UNREACHABLE),
        (b"malformed", Silence.UNBELIEVED),
        (b"", Silence.UNBELIEVED),
        (b"\xff" * 200, Silence.UNBELIEVED),
    ],
)
async def test_what_the_machine_has_not_signed_is_no_answer(
    admin: LabAdmin, line: Line, reply: bytes, outcome: Silence
) -> None:
    line.instead = lambda _message: reply
    assert (await told(admin)).outcome is outcome


async def test_another_machines_answer_is_not_believed(admin: LabAdmin, line: Line) -> None:
    line.instead = lambda message: seal_answer(
        new_answer(digest_of(message), LabVerdict.DONE, ""), new_key()
    )
    assert (await told(admin)).outcome is Silence.UNBELIEVED


async def test_an_earlier_answer_is_not_believed(admin: LabAdmin, line: Line) -> None:
    old = seal_answer(new_answer("0" * 64, LabVerdict.DONE, ""), KEY)
    line.instead = lambda _message: old
    assert (await told(admin)).outcome is Silence.UNBELIEVED


async def test_each_outcome_is_told_as_it_comes(admin: LabAdmin) -> None:
    seen: list[CommandOutcome] = []
    found = await admin.command([machine(), machine()], StopTraining(), told=seen.append)
    assert sorted(each.outcome for each in seen) == sorted(each.outcome for each in found)


async def test_without_a_key_nobody_can_be_commanded(tmp_path: Path) -> None:
    folders = Folders.under(tmp_path / "new")
    folders.create()
    with pytest.raises(LabError):
        async with admin_in(folders, node=None, run_id=""):
            pass
    assert not (folders.data / "identities" / "lab.pem").exists()


def test_who_has_left_or_hides_cannot_be_called() -> None:
    assert reachable(machine())
    assert not reachable(machine(state=LEFT))
    assert not reachable(machine(peer_ids=()))


def test_what_is_said_becomes_a_command() -> None:
    assert pause_of("1.5").seconds == 90
    assert change_of(" schedule = mon 8:00-9:00=").values == {"schedule": "mon 8:00-9:00="}
    spec = schema.parse(SMALLEST)
    assert invite.read_link(move_to(spec).invite) == spec


@pytest.mark.parametrize("text", ["", "threads", "=2"])
def test_what_is_no_setting_is_told(text: str) -> None:
    with pytest.raises(LabError):
        change_of(text)
