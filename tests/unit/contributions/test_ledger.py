"""The ledger keeps what is in it, and allows only certain changes of a contribution's state."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from app.common.errors import DatabaseError
from app.contributions.ledger import Ledger, LedgerThread
from app.contributions.outbox import Outbox, OutboxState, WrongStateError
from tests.support.training.works import NOON, contribution

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(path)
    yield ledger
    ledger.close()


def state_of(ledger: Ledger, number: int) -> OutboxState:
    entry = ledger.outbox.entry(contribution(number).id)
    assert entry is not None
    return entry.state


# --- what is in it stays -------------------------------------------------------------------------


def test_contribution_comes_back_as_it_went_in(ledger: Ledger) -> None:
    made = contribution(public_key="key", signature="signature")
    ledger.add(made)
    assert ledger.outbox.next_waiting(NOON) == made


def test_contribution_outlives_the_process(path: Path) -> None:
    for number in (1, 2):
        ledger = Ledger.open(path)
        ledger.add(contribution(number))
        ledger.close()
    ledger = Ledger.open(path)
    assert [entry.contribution for entry in ledger.all()] == [contribution(2), contribution(1)]
    ledger.close()


def test_what_is_not_known_stays_unknown(ledger: Ledger) -> None:
    made = contribution(session_id=None, training_id=None, energy=None)
    ledger.add(made)
    assert ledger.all()[0].contribution == made


def test_adding_twice_is_as_good_as_once(ledger: Ledger) -> None:
    ledger.add(contribution())
    ledger.outbox.begin_sending(contribution().id, NOON)
    ledger.add(contribution(samples=1))
    assert [(entry.state, entry.contribution.samples) for entry in ledger.all()] == [
        (OutboxState.SENDING, 790)
    ]


def test_ledger_is_for_its_owner_alone(ledger: Ledger, path: Path) -> None:
    ledger.add(contribution())
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


# --- the way through the outbox ------------------------------------------------------------------


def test_without_a_session_there_is_nobody_to_send_it_to(ledger: Ledger) -> None:
    ledger.add(contribution(session_id=None))
    assert state_of(ledger, 1) is OutboxState.LOCAL
    assert ledger.outbox.next_waiting(NOON) is None


def test_oldest_goes_first(ledger: Ledger) -> None:
    for number in (3, 1, 2):
        ledger.add(contribution(number))
    assert ledger.outbox.next_waiting(NOON) == contribution(3)


def test_postponed_one_waits_its_time(ledger: Ledger) -> None:
    ledger.add(contribution())
    ledger.outbox.begin_sending(contribution().id, NOON)
    ledger.outbox.postpone(contribution().id, NOON + 30, "no answer")
    assert ledger.outbox.next_waiting(NOON + 29) is None
    assert ledger.outbox.next_waiting(NOON + 30) == contribution()
    entry = ledger.outbox.entry(contribution().id)
    assert entry is not None
    assert (entry.attempts, entry.attempted_at, entry.due_at, entry.remark) == (
        1,
        NOON,
        NOON + 30,
        "no answer",
    )


def test_sent_one_is_uncertain_until_we_know(ledger: Ledger, path: Path) -> None:
    for number in (1, 2, 3):
        ledger.add(contribution(number))
    for number in (2, 1):
        ledger.outbox.begin_sending(contribution(number).id, NOON)
    ledger.close()
    again = Ledger.open(path)
    assert again.outbox.uncertain() == [contribution(1), contribution(2)]
    assert again.outbox.next_waiting(NOON) == contribution(3)
    again.outbox.confirm(contribution(1).id, NOON + 1, "http")
    assert again.outbox.uncertain() == [contribution(2)]
    again.close()


def test_confirmed_and_refused_are_settled(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.add(contribution(number))
        ledger.outbox.begin_sending(contribution(number).id, NOON)
    ledger.outbox.confirm(contribution(1).id, NOON + 1, "socket.io")
    ledger.outbox.confirm(contribution(1).id, NOON + 2, "read back")
    ledger.outbox.refuse(contribution(2).id, NOON + 1, "no such session")
    found = {entry.number: (entry.state, entry.settled_at, entry.remark) for entry in ledger.all()}
    assert found == {
        1: (OutboxState.CONFIRMED, NOON + 2, "read back"),
        2: (OutboxState.REFUSED, NOON + 1, "no such session"),
    }
    assert ledger.outbox.next_waiting(NOON) is None
    assert ledger.outbox.uncertain() == []


def test_refused_one_can_be_tried_again(ledger: Ledger) -> None:
    ledger.add(contribution())
    ledger.outbox.refuse(contribution().id, NOON, "no")
    ledger.outbox.take_back_refused(NOON)
    assert ledger.outbox.next_waiting(NOON) == contribution()


WRONG = {
    "begin_sending": (NOON,),
    "confirm": (NOON, "http"),
    "refuse": (NOON, "no"),
    "postpone": (NOON, "later"),
}


@pytest.mark.parametrize("call", WRONG)
def test_unknown_contribution_is_an_error(ledger: Ledger, call: str) -> None:
    with pytest.raises(WrongStateError):
        getattr(ledger.outbox, call)("nobody", *WRONG[call])


class OutboxMachine(RuleBasedStateMachine):
    """Whatever is done to the outbox, each contribution is in it once, in the right state."""

    added = Bundle("added")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(Path(self.folder.name) / "ledger.sqlite")
        self.states: dict[str, OutboxState] = {}
        self.numbers = iter(range(1, 10**6))

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @rule(target=added, session=st.none() | st.integers(0, 9))
    def add(self, session: int | None) -> str:
        made = contribution(next(self.numbers), session_id=session)
        self.ledger.add(made)
        self.states[made.id] = OutboxState.LOCAL if session is None else OutboxState.WAITING
        return made.id

    def move(self, call: str, id: str, allowed: set[OutboxState], to: OutboxState) -> None:
        try:
            getattr(self.ledger.outbox, call)(id, *WRONG[call])
        except WrongStateError:
            assert self.states[id] not in allowed
        else:
            assert self.states[id] in allowed
            self.states[id] = to

    @rule(id=added)
    def begin_sending(self, id: str) -> None:
        self.move("begin_sending", id, {OutboxState.WAITING}, OutboxState.SENDING)

    @rule(id=added)
    def confirm(self, id: str) -> None:
        allowed = {OutboxState.SENDING, OutboxState.CONFIRMED}
        self.move("confirm", id, allowed, OutboxState.CONFIRMED)

    @rule(id=added)
    def refuse(self, id: str) -> None:
        allowed = {OutboxState.WAITING, OutboxState.SENDING}
        self.move("refuse", id, allowed, OutboxState.REFUSED)

    @rule(id=added)
    def postpone(self, id: str) -> None:
        allowed = {OutboxState.WAITING, OutboxState.SENDING}
        self.move("postpone", id, allowed, OutboxState.WAITING)

    @rule()
    def take_back_refused(self) -> None:
        self.ledger.outbox.take_back_refused(NOON)
        again = {OutboxState.REFUSED: OutboxState.WAITING}
        self.states = {id: again.get(state, state) for id, state in self.states.items()}

    @invariant()
    def agrees(self) -> None:
        entries = self.ledger.all(limit=-1)
        assert {entry.contribution.id: entry.state for entry in entries} == self.states
        assert len(entries) == len(self.states)
        counts = self.ledger.totals().counts
        assert all(
            count == sum(each is state for each in self.states.values())
            for state, count in counts.items()
        )


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


# --- intervals that go on ------------------------------------------------------------------------


def test_open_one_is_neither_sent_nor_counted(ledger: Ledger) -> None:
    ledger.save_open(contribution(samples=1))
    ledger.save_open(contribution(samples=2))
    assert ledger.outbox.next_waiting(NOON) is None
    assert ledger.all() == []
    assert ledger.totals().contributions == 0
    assert [each.samples for each in ledger.left_open()] == [2]


def test_open_one_becomes_what_it_was_in_the_end(ledger: Ledger) -> None:
    ledger.save_open(contribution(samples=1))
    ledger.add(contribution())
    assert ledger.left_open() == []
    assert ledger.outbox.next_waiting(NOON) == contribution()
    ledger.save_open(contribution(samples=1))  # a late word changes nothing
    assert ledger.outbox.next_waiting(NOON) == contribution()


def test_only_what_is_open_can_be_dropped(ledger: Ledger) -> None:
    ledger.add(contribution(1))
    ledger.save_open(contribution(2))
    for number in (1, 2):
        ledger.drop_open(contribution(number).id)
    assert (len(ledger.all()), ledger.left_open()) == (1, [])


# --- looking at it -------------------------------------------------------------------------------


def test_pages_hold_each_once(ledger: Ledger) -> None:
    for number in range(1, 8):
        ledger.add(contribution(number))
    seen: list[int] = []
    while page := ledger.all(before=seen[-1] if seen else None, limit=3):
        seen += [entry.number for entry in page]
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_page_can_be_of_a_state_or_a_run(ledger: Ledger) -> None:
    ledger.add(contribution(1, run_id="other"))
    ledger.add(contribution(2, session_id=None))
    assert [each.number for each in ledger.all(state=OutboxState.LOCAL)] == [2]
    assert [each.number for each in ledger.all(run_id="other")] == [1]


def test_totals_are_sums(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.add(contribution(number, energy=number * 10.0))
    ledger.add(contribution(3, energy=None, session_id=None))
    totals = ledger.totals()
    assert (totals.contributions, totals.samples, totals.tokens) == (3, 2370, 303_360)
    assert totals.compute_time == pytest.approx(3 * 41.125)
    assert (totals.energy, totals.score) == (30.0, 3 * contribution().score)
    assert totals.share == pytest.approx(0.1)
    assert totals.began == contribution(1).started_at
    assert totals.ended == contribution(3).ended_at
    assert totals.counts[OutboxState.WAITING] == 2
    assert totals.counts[OutboxState.LOCAL] == 1


def test_what_was_not_measured_is_told_apart_from_what_was(ledger: Ledger) -> None:
    ledger.add(contribution(1, energy=6000.0, uptime_ratio=100.0))
    ledger.add(contribution(2, energy=12_000.0, uptime_ratio=98.0))
    ledger.add(contribution(3, energy=600.0, uptime_ratio=20.0))  # most of it, others used
    ledger.add(contribution(4, energy=None, uptime_ratio=50.0))
    totals = ledger.totals()
    assert totals.energy == 18_600.0
    assert totals.unmeasured_time == pytest.approx(30.0)
    assert totals.power == pytest.approx(150.0)
    assert ledger.totals(contribution(3).ended_at + 1).power is None


def test_totals_of_nothing_are_nothing(ledger: Ledger) -> None:
    totals = ledger.totals()
    assert (totals.contributions, totals.samples, totals.compute_time) == (0, 0, 0.0)
    assert (totals.energy, totals.share) == (None, None)
    assert (totals.ended, totals.power, totals.unmeasured_time) == (None, None, 0.0)


def test_totals_since_leave_out_what_ended_before(ledger: Ledger) -> None:
    for number in range(5):
        ledger.add(contribution(number))
    assert ledger.totals(contribution(3).ended_at).contributions == 2


def test_days_are_the_users(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        ledger.add(contribution(1, ended_at=NOON + 3 * 3600))  # 23:00 there
        ledger.add(contribution(2, ended_at=NOON + 5 * 3600))
        days = {day: totals.contributions for day, totals in ledger.by_day().items()}
    finally:
        monkeypatch.undo()
        time.tzset()
    assert days == {"2026-11-24": 1, "2026-11-25": 1}


def test_demos_are_listed_and_not_counted(ledger: Ledger) -> None:
    for number, run_id in enumerate(("demo-0a1b2c3d", "demo-of-mine", "a")):
        ledger.add(contribution(number, run_id=run_id))
    assert ledger.totals().contributions == 2
    assert sum(totals.contributions for totals in ledger.by_day().values()) == 2
    assert set(ledger.by_swarm()) == {"demo-0a1b2c3d", "demo-of-mine", "a"}


def test_swarms_are_summed_up_each(ledger: Ledger) -> None:
    for number, run_id in enumerate(("a", "b", "a")):
        ledger.add(contribution(number, run_id=run_id))
    assert {run: totals.contributions for run, totals in ledger.by_swarm().items()} == {
        "a": 2,
        "b": 1,
    }
    assert next(iter(ledger.by_swarm())) == "a"  # the latest first


# --- on its thread -------------------------------------------------------------------------------


async def test_ledger_tells_of_what_is_new(path: Path) -> None:
    ledger = LedgerThread(path)
    told: list[bool] = []
    subscription = ledger.subscribe(lambda: told.append(ledger.is_open))
    await ledger.open()
    assert told == [True]
    await ledger.run(Ledger.save_open, contribution(1))
    await ledger.run(Ledger.totals)
    assert len(told) == 1  # nothing is finished yet
    await ledger.run(Ledger.add, contribution(1))
    await ledger.outbox.run(Outbox.begin_sending, contribution(1).id, NOON)
    await ledger.outbox.run(Outbox.confirm, contribution(1).id, NOON, "http")
    assert len(told) == 4
    subscription.close()
    await ledger.run(Ledger.add, contribution(2))
    assert len(told) == 4
    await ledger.close()


async def test_ledger_lives_on_one_thread_of_its_own(path: Path) -> None:
    ledger = LedgerThread(path)
    assert await ledger.open() is None
    threads = {await ledger.run(lambda _ledger: threading.get_ident()) for _ in range(5)}
    await asyncio.gather(*(ledger.run(Ledger.add, contribution(number)) for number in range(5)))
    assert (await ledger.run(Ledger.totals)).contributions == 5
    assert threads.isdisjoint({threading.get_ident()})
    assert len(threads) == 1
    await ledger.close()
    await ledger.close()


def test_thread_that_was_never_opened_can_be_closed(path: Path) -> None:
    asyncio.run(LedgerThread(path).close())
    assert not path.exists()


async def test_ledger_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ledger = LedgerThread(tmp_path / "file" / "ledger.sqlite")
    with pytest.raises(DatabaseError, match="can't be opened"):
        await ledger.open()
    await ledger.close()


# --- killed --------------------------------------------------------------------------------------

WRITER = """
    import sys
    from pathlib import Path
    from app.contributions.ledger import Ledger
    from tests.support.training.works import contribution

    ledger = Ledger.open(Path(sys.argv[1]))
    for number in range(1, 10**6):
        ledger.save_open(contribution(number, samples=number))
        if number % 2:
            ledger.add(contribution(number, samples=number))
            print(number, flush=True)
"""


def killed_after(path: Path, *, lines: int) -> int:
    """Kill another process while it writes; returns the last number that it has added."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    process.kill()
    *_, last = process.stdout.read().split() or ["0"]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return max(int(last), 2 * lines - 1)


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_killed_writer_loses_nothing_that_it_had_added(path: Path, lines: int) -> None:
    said = killed_after(path, lines=lines)
    ledger = Ledger.open(path)
    added = {entry.contribution.samples for entry in ledger.all(limit=-1)}
    assert set(range(1, said + 1, 2)) <= added
    assert ledger.recovery is None
    # at most the write that was under way is not known to us
    assert {each.samples for each in ledger.left_open()} >= set(range(2, said, 2))
    ledger.close()


# --- the file itself -----------------------------------------------------------------------------

DAMAGE: dict[str, Any] = {
    "no database": lambda content: b"x" * len(content),
    "a short text": lambda _content: b"gone",
    "head overwritten": lambda content: b"\0" * 200 + content[200:],
    "middle overwritten": lambda content: content[:5000] + b"\xff" * 8000 + content[13000:],
    "cut off": lambda content: content[: len(content) // 2 + 7],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_file_is_set_aside_and_a_new_one_begun(path: Path, damage: Any) -> None:
    ledger = Ledger.open(path)
    for number in range(200):
        ledger.add(contribution(number))
    ledger.close()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    again = Ledger.open(path)
    assert again.recovery is not None
    assert again.recovery.aside.read_bytes() == damaged
    assert "damaged" in again.recovery.aside.name
    again.add(contribution())
    assert again.totals().contributions == 1
    again.close()


def test_file_of_a_later_version_is_left_alone(path: Path) -> None:
    Ledger.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseError, match="later version") as caught:
        Ledger.open(path)
    assert caught.value.field == str(path)
    assert [file.name for file in path.parent.iterdir()] == ["ledger.sqlite"]


def test_file_that_may_not_be_written_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(DatabaseError) as caught:
        Ledger.open(path)
    assert caught.value.field == str(path)
    assert caught.value.remedy


# What version 1 of the app wrote. Never changed: each later version must still read it.
VERSION_1 = Path(__file__).with_name("ledger_v1.sql")


def test_ledger_of_version_1_is_still_read(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1.read_text(encoding="utf-8"))
    connection.close()
    ledger = Ledger.open(path)
    assert ledger.recovery is None
    found = {entry.contribution.id: entry for entry in ledger.all()}
    assert found[contribution(1).id].contribution == contribution(1, energy=None)
    assert found[contribution(1).id].state is OutboxState.CONFIRMED
    assert found[contribution(2).id].state is OutboxState.WAITING
    assert ledger.left_open() == [contribution(3)]
    ledger.add(contribution(4))
    ledger.close()
