"""A machine's desk: each command runs once, in time, on its own machine, or is refused."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.common.errors import LabError, TrainerError
from app.common.logs import AuditLog
from app.common.paths import write_atomically
from app.lab import desk as desks
from app.lab.desk import CommandDesk
from app.lab.memory import CommandMemory
from app.lab.messages import (
    LabAnswer,
    LabCommand,
    LabOrder,
    LabVerdict,
    StartTraining,
    StopTraining,
    digest_of,
    new_order,
    open_answer,
    seal_order,
)
from app.settings.loading import changed
from app.settings.settings import Settings
from app.state.events import Event, LabCommanded
from app.state.facts import Swarm
from app.state.state import ContributorState
from app.state.store import Store
from tests.support.machine.machines import new_key

LAB, MACHINE = new_key(), new_key()
RUN = "tiny"
SWARM = Swarm(run_id=RUN, title="", model_type="gpt2", dataset="", target_batch_size=1)


class Hands:
    """Notes what it was told to do; may take long, or fail."""

    def __init__(self) -> None:
        self.did: list[LabCommand] = []
        self.error: Exception | None = None
        self.may_end, self.begun = asyncio.Event(), asyncio.Event()
        self.may_end.set()

    async def carry_out(self, command: LabCommand) -> str:
        self.did.append(command)
        self.begun.set()
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return "so it is"


class Machine:
    """A paired machine, which can be switched off and on again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hands = Hands()
        self.events: list[Event] = []
        self.ahead = 0.0
        self.store = Store(
            settings=Settings.model_construct(lab_key=LAB.public_key),
            state=ContributorState(swarm=SWARM),
        )
        self.store.subscribe_to_events(lambda event, _state: self.events.append(event))

    async def start(self) -> None:
        self.audit = AuditLog(self.folder)
        self.desk = CommandDesk(
            self.store,
            key=MACHINE,
            memory=CommandMemory(self.folder / "commands.json"),
            hands=self.hands,
            audit=self.audit,
            clock=lambda: time.time() + self.ahead,
        )
        await self.desk.begin(LAB.public_key)

    async def stop(self) -> None:
        await self.desk.close()
        self.audit.close()

    async def told(self, order: LabOrder) -> LabAnswer:
        sealed = seal_order(order, LAB)
        reply = await self.desk.answer("Qm", sealed)
        answer = open_answer(reply, MACHINE.public_key, digest_of(sealed))
        assert answer is not None, reply
        return answer

    def shown(self) -> list[str]:
        """What the window told of commands."""
        return [event.deed.in_words for event in self.events if isinstance(event, LabCommanded)]

    def audited(self) -> list[str]:
        lines = (self.folder / "audit.log").read_text().splitlines()
        return [json.loads(line)["outcome"] for line in lines]


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path)
    await made.start()
    yield made
    await made.stop()


def order(number: int = 1, command: LabCommand | None = None, **changes: Any) -> LabOrder:
    made = new_order(RUN, MACHINE.public_key, number, command or StartTraining())
    return msgspec.structs.replace(made, **changes)


async def test_a_command_is_carried_out_and_told(machine: Machine) -> None:
    answer = await machine.told(order())
    assert (answer.verdict, answer.text) == (LabVerdict.DONE, "so it is")
    assert machine.hands.did == [StartTraining()]
    (event,) = machine.events
    assert isinstance(event, LabCommanded)
    assert "start" in event.deed.in_words
    assert machine.store.state.commanded == event.deed
    assert machine.audited() == ["accepted", "done"]


async def test_a_forged_command_is_refused_and_written_down(machine: Machine) -> None:
    assert await machine.desk.answer("Qm", seal_order(order(), MACHINE)) == b"key"
    assert await machine.desk.answer("Qm", b"garbage" * 20) == b"key"
    assert machine.hands.did == []
    assert machine.audited() == ["forged", "forged"]
    assert "hasn't signed" in machine.shown()[0]


async def test_a_flood_of_forgeries_does_not_fill_the_audit_log(machine: Machine) -> None:
    for _ in range(200):
        await machine.desk.answer("Qm", b"garbage" * 20)
    await machine.told(order())
    lines = [json.loads(each) for each in (machine.folder / "audit.log").read_text().splitlines()]
    assert len(lines) <= desks.MOST_NOTED_AT_ONCE + 3
    assert sum(each["unwritten_before"] for each in lines) + len(lines) == 202
    assert len(machine.events) == desks.MOST_SHOWN_AT_ONCE + 1  # the lab's own among them


async def test_the_same_command_again_gets_the_stored_answer_and_runs_once(
    machine: Machine,
) -> None:
    same = order()
    first = await machine.told(same)
    assert await machine.told(same) == first
    await machine.stop()
    await machine.start()  # the app was started again
    assert await machine.told(same) == first
    machine.ahead = 3600.0  # and long after it has expired
    assert await machine.told(same) == first
    assert len(machine.hands.did) == 1


async def test_both_of_two_at_once_wait_for_the_one_that_runs(machine: Machine) -> None:
    machine.hands.may_end.clear()
    asking = [asyncio.create_task(machine.told(order_)) for order_ in [order()] * 2]
    await machine.hands.begun.wait()
    machine.hands.may_end.set()
    first, second = await asyncio.gather(*asking)
    assert first == second
    assert len(machine.hands.did) == 1


async def test_what_comes_while_an_answer_is_being_kept_does_not_run_twice(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping, may_go_on = threading.Event(), threading.Event()
    writes = 0

    def slow(*arguments: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:  # the answer to the first command
            keeping.set()
            may_go_on.wait()
        write_atomically(*arguments)

    monkeypatch.setattr("app.lab.memory.write_atomically", slow)
    later = order(2, StopTraining())
    first = asyncio.create_task(machine.told(order()))
    await asyncio.to_thread(keeping.wait)
    asking = asyncio.create_task(machine.told(later))
    await asyncio.wait({asking}, timeout=0.05)  # long enough to be accepted, were that allowed
    may_go_on.set()
    await asyncio.gather(first, asking)
    again = await machine.told(later)
    assert again == asking.result()
    assert len(machine.hands.did) == 2


async def test_what_ran_when_the_app_ended_does_not_run_again(machine: Machine) -> None:
    same = order()
    machine.hands.may_end.clear()
    asking = asyncio.create_task(machine.told(same))
    await machine.hands.begun.wait()
    await machine.stop()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await machine.start()
    assert (await machine.told(same)).verdict is LabVerdict.FAILED
    assert len(machine.hands.did) == 1


async def test_what_takes_long_has_begun_and_is_asked_for_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "ANSWER_SECONDS", 0.01)
    same = order()
    machine.hands.may_end.clear()
    assert (await machine.told(same)).verdict is LabVerdict.BEGUN
    assert (await machine.told(order(2, StopTraining()))).verdict is LabVerdict.BEGUN
    machine.hands.may_end.set()
    monkeypatch.setattr(desks, "ANSWER_SECONDS", 30.0)
    assert (await machine.told(same)).verdict is LabVerdict.DONE
    assert len(machine.hands.did) == 2


def times(issued: int, expires: int) -> dict[str, int]:
    """Seconds from now."""
    now = int(time.time() * 1000)
    return {"issued": now + issued * 1000, "expires": now + expires * 1000}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (lambda: {"machine": new_key().public_key}, "another machine"),
        (lambda: {"run": "other"}, "another swarm"),
        (lambda: times(-30, 30), "before this machine was paired"),
        (lambda: times(60, 90), "clocks"),
    ],
)
async def test_what_is_for_elsewhere_or_another_time_is_refused(
    machine: Machine, changes: Callable[[], dict[str, Any]], reason: str
) -> None:
    answer = await machine.told(order(**changes()))
    assert answer.verdict is LabVerdict.REFUSED
    assert reason in answer.text
    assert machine.hands.did == []
    assert "refused" in machine.audited()
    assert reason in machine.shown()[0]


async def test_what_has_expired_is_refused(machine: Machine) -> None:
    late = order()
    machine.ahead = 64.0
    answer = await machine.told(late)
    assert answer.verdict is LabVerdict.REFUSED
    assert "too late" in answer.text
    assert "too late" in machine.shown()[0]
    machine.ahead = 0.0
    assert (await machine.told(order(2))).verdict is LabVerdict.DONE


async def test_an_older_number_is_refused_after_a_later_one_and_after_a_restart(
    machine: Machine,
) -> None:
    await machine.told(order(5))
    assert (await machine.told(order(4))).verdict is LabVerdict.REFUSED
    await machine.stop()
    await machine.start()
    assert (await machine.told(order(4))).verdict is LabVerdict.REFUSED
    assert len(machine.hands.did) == 1
    assert sum("a later command" in each for each in machine.shown()) == 2


async def test_another_command_with_a_known_number_is_refused(machine: Machine) -> None:
    await machine.told(order(5))
    assert (await machine.told(order(5, StopTraining()))).verdict is LabVerdict.REFUSED
    assert machine.hands.did == [StartTraining()]


async def test_what_the_user_refuses_does_not_run_later_either(machine: Machine) -> None:
    settings = machine.store.settings
    machine.store.replace_settings(changed(settings, {"lab_commands": False}))
    same = order()
    answer = await machine.told(same)
    assert answer.verdict is LabVerdict.REFUSED
    assert isinstance(machine.events[-1], LabCommanded)
    machine.store.replace_settings(settings)
    assert await machine.told(same) == answer
    assert machine.hands.did == []


async def test_nobody_is_listened_to_without_a_pairing(machine: Machine) -> None:
    for key in ("", new_key().public_key):
        machine.store.replace_settings(changed(machine.store.settings, {"lab_key": key}))
        assert await machine.desk.answer("Qm", seal_order(order(), LAB)) == b"busy"
    assert machine.hands.did == []


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (LabError("no."), LabVerdict.REFUSED),
        (TrainerError("broken."), LabVerdict.FAILED),
        (TrainerError("broken.", field="max_power"), LabVerdict.FAILED),
        (OSError("full"), LabVerdict.FAILED),
    ],
)
async def test_why_not_is_answered(machine: Machine, error: Exception, verdict: LabVerdict) -> None:
    machine.hands.error = error
    answer = await machine.told(order())
    assert (answer.verdict, answer.text) == (verdict, str(error))


async def test_the_path_of_a_file_is_not_answered(machine: Machine) -> None:
    machine.hands.error = TrainerError("can't be read.", field="/home/alice/a", remedy="Look.")
    assert (await machine.told(order())).text == "can't be read. Look."


@pytest.mark.logs_error("a command of the lab failed")
async def test_a_defect_is_loud_and_answered(machine: Machine) -> None:
    machine.hands.error = RuntimeError("secret")
    answer = await machine.told(order())
    assert answer.verdict is LabVerdict.FAILED
    assert "secret" not in answer.text


async def test_what_cannot_be_noted_is_not_carried_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_rest: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("app.lab.memory.write_atomically", full)
    answer = await machine.told(order())
    assert answer.verdict is LabVerdict.FAILED
    assert "no space" in answer.text
    assert machine.hands.did == []
