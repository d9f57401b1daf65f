"""The delivery against a small real backend: no contribution is lost or counted twice."""

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.backend.budget import Budget
from app.backend.offers import LISTED_AGAIN_SECONDS
from app.backend.pace import DeliveryPace
from app.common.signing import MachineKey
from app.contributions.accounting import Contribution
from app.contributions.ledger import Ledger
from app.contributions.outbox import Outbox, OutboxState
from app.state.facts import ReportingStatus
from tests.support.backend.reporting import FAST, Clocks, Desk, contribution, desk, until
from tests.support.backend.server import Fault, SmallBackend, listed

DAY = 24 * 3600.0


@pytest.fixture(autouse=True)
def patient_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has begun may end on a busy machine, too."""
    monkeypatch.setattr("app.backend.delivery.CLOSE_SECONDS", 60.0)


Content = tuple[int | None, float, float]


def counted(server: SmallBackend) -> Counter[Content]:
    """How often the backend has counted each content."""
    rows = server.rows
    return Counter((row["sessionId"], row["computeTime"], row["uptimeRatio"]) for row in rows)


def expected(*some: Contribution) -> Counter[Content]:
    return Counter((each.session_id, each.compute_time, each.uptime_ratio) for each in some)


def reports_over_http(server: SmallBackend) -> int:
    return server.requests.count(("POST", "/api/v1/hivemind/contributions/submit"))


def read_backs(server: SmallBackend) -> int:
    return sum("/contributions/node/" in path for _, path in server.requests)


# --- the way it goes -----------------------------------------------------------------------------


async def test_over_http_where_the_backend_takes_it(server: SmallBackend, tmp_path: Path) -> None:
    server.quirk = False
    some = [contribution() for _ in range(3)]
    async with desk(server, tmp_path) as ours:
        await ours.add(*some)
        await ours.until_empty()
        assert ours.reporter.state.way == "http"
        assert ours.reporter.state.status is ReportingStatus.ON
    assert counted(server) == expected(*some)
    assert list(server.nodes) == [some[0].participant]  # by the same way


async def test_over_socket_io_where_http_knows_no_field(
    server: SmallBackend, tmp_path: Path
) -> None:
    some = [contribution() for _ in range(3)]
    async with desk(server, tmp_path) as ours:
        await ours.add(*some)
        await ours.until_empty()
        assert ours.reporter.state.way == "socket.io"
        assert [await ours.state_of(each) for each in some] == [OutboxState.CONFIRMED] * 3
    assert counted(server) == expected(*some)
    assert reports_over_http(server) == 1  # asked once, and remembered
    assert server.heartbeats == 3
    assert list(server.nodes) == [some[0].participant]


async def test_http_is_tried_again_later(server: SmallBackend, tmp_path: Path) -> None:
    clocks = Clocks()
    async with desk(server, tmp_path, clock=clocks.clock(), http_again=3600.0) as ours:
        await ours.add(first := contribution())
        await ours.reporter.step()
        server.quirk = False
        await ours.add(second := contribution())
        await ours.reporter.step()
        assert ours.reporter.state.way == "socket.io"
        clocks.move(3601)
        await ours.add(third := contribution())
        await ours.reporter.step()
        assert ours.reporter.state.way == "http"
    assert counted(server) == expected(first, second, third)


async def test_only_exactly_that_400_goes_over_socket_io(
    server: SmallBackend, tmp_path: Path
) -> None:
    mixed = {"message": ["property uptimeRatio should not exist", "sessionId must be an integer"]}
    server.faults.append(Fault(route="submit", status=400, body=mixed))
    async with desk(server, tmp_path) as ours:
        await ours.add(one := contribution())
        await ours.until_empty()
        assert await ours.state_of(one) is OutboxState.REFUSED
        assert "sessionId must be an integer" in await ours.remark_on(one)
    assert not server.rows


# --- when somebody is signed in ------------------------------------------------------------------


async def test_nothing_is_sent_while_nobody_is_signed_in(
    server: SmallBackend, tmp_path: Path
) -> None:
    async with desk(server, tmp_path, sign_in=False) as ours:
        await ours.add(contribution())
        await ours.reporter.step()
        assert ours.reporter.state.status is ReportingStatus.OFF
    assert not server.requests


async def test_an_expired_token_is_renewed_in_passing(server: SmallBackend, tmp_path: Path) -> None:
    server.access_seconds = 0.0  # the first token is stale when it comes
    async with desk(server, tmp_path) as ours:
        server.access_seconds = 900.0
        await ours.add(one := contribution())
        await ours.until_empty()
    assert counted(server) == expected(one)
    assert ("POST", "/api/v1/auth/refresh") in server.requests


async def test_an_expired_sign_in_is_said_and_nothing_is_lost(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.access_seconds = server.refresh_seconds = 0.0
    async with desk(server, tmp_path) as ours:
        await ours.add(one := contribution())
        await ours.reporter.step()
        assert ours.reporter.state.status is ReportingStatus.FAILING
        assert "expired" in ours.reporter.state.reason
        assert await ours.state_of(one) is OutboxState.WAITING
        server.access_seconds = server.refresh_seconds = 900.0
        await ours.account.sign_in("volunteer@example.org", password="a good password")
        ours.reporter.wake(impatient=True)
        await ours.until_empty()
    assert counted(server) == expected(one)


# --- answers that say no -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_one_keeps_the_reason_and_lets_others_pass(
    server: SmallBackend, tmp_path: Path, status: int
) -> None:
    server.quirk = False
    body = {"statusCode": status, "message": ["sessionId must be no 7"]}
    server.faults.append(Fault(route="submit", status=status, body=body))
    async with desk(server, tmp_path) as ours:
        await ours.add(bad := contribution(), good := contribution())
        await ours.until_empty()
        assert await ours.state_of(bad) is OutboxState.REFUSED
        assert "sessionId must be no 7" in await ours.remark_on(bad)
    assert counted(server) == expected(good)


WRAPPED = {"statusCode": 400, "message": "Failed to submit contribution: no gas is left"}
"""What the real backend answers to whatever fails, also after it has counted."""


def hangs(fault: Fault) -> bool:
    """No answer comes, so we have to hang up soon."""
    return fault.silent or fault.held is not None or (fault.route == "connect" and fault.cut)


async def go_on_after(fault: Fault, ours: Desk, server: SmallBackend) -> None:
    """Take steps until all is reported. What was held back is counted once we have hung up."""
    if fault.held is not None:
        # nothing happens but by these steps
        while not await ours.ledger.outbox.run(Outbox.uncertain):  # noqa: ASYNC110
            await asyncio.sleep(await ours.reporter.step())
        fault.held.set()
        await until(lambda: not server.holds_back)
    await ours.until_empty()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(route="submit", status=403, body={"message": "Forbidden"}),
        Fault(route="submit", status=404, body={"message": "Cannot POST /api/v1/hivemind"}),
        Fault(route="submit", status=400, html=True),
        Fault(route="submit", status=302, headers={"Location": "http://portal.example/"}),
        Fault(route="submit", status=429, headers={"Retry-After": "1"}),
        Fault(route="submit", status=400, body=WRAPPED),
        Fault(route="submit", status=400, body=WRAPPED, counted=True),
        Fault(route="submit", status=404, body={"message": "no session 7"}, counted=True),
        Fault(route="submit", status=500),
        Fault(route="submit", status=502, html=True),
        Fault(route="submit", html=True),
        Fault(route="submit", cut=True),
        Fault(route="submit", status=500, counted=True),
        Fault(route="submit", html=True, counted=True),
        Fault(route="submit", cut=True, counted=True),
        Fault(route="submit", silent=True, counted=True),
        Fault(route="submit", silent=True),
        Fault(route="submit", held=threading.Event()),  # counted after we have hung up
    ],
    ids=lambda fault: (
        f"{fault.status}{' html' * fault.html}{' cut' * fault.cut}{' silent' * fault.silent}"
        f"{' counted' * fault.counted}{' slow' * bool(fault.held)}"
    ),
)
async def test_what_goes_wrong_over_http_is_counted_once(
    server: SmallBackend, tmp_path: Path, fault: Fault
) -> None:
    server.quirk = False
    async with desk(server, tmp_path, budget=Budget(requests=60)) as ours:
        if hangs(fault):
            await ours.hang_up_after(0.5)
        server.faults.append(fault)
        await ours.add(one := contribution(), other := contribution())
        await go_on_after(fault, ours, server)
        assert ours.reporter.state.status is ReportingStatus.ON
        assert len(ours.states) > 1  # the trouble was shown
    assert counted(server) == expected(one, other)
    assert not server.faults


@pytest.mark.parametrize(
    "fault",
    [
        Fault(route="connect"),
        Fault(route="connect", cut=True),
        Fault(route="live", cut=True),
        Fault(route="live", error=True),
        Fault(route="live", silent=True),
        Fault(route="live", cut=True, counted=True),
        Fault(route="live", error=True, counted=True),
        Fault(route="live", silent=True, counted=True),
        Fault(route="live", held=threading.Event()),
    ],
    ids=lambda fault: (
        f"{fault.route}{' cut' * fault.cut}{' silent' * fault.silent}{' error' * fault.error}"
        f"{' counted' * fault.counted}{' slow' * bool(fault.held)}"
    ),
)
async def test_what_goes_wrong_over_socket_io_is_counted_once(
    server: SmallBackend, tmp_path: Path, fault: Fault
) -> None:
    async with desk(server, tmp_path) as ours:
        if hangs(fault):
            ours.http.timeout = 0.5
        server.faults.append(fault)
        await ours.add(one := contribution(), other := contribution())
        await go_on_after(fault, ours, server)
    assert counted(server) == expected(one, other)
    assert not server.faults


async def test_a_report_that_always_fails_doesnt_block_the_others(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk = False
    sick = contribution(participant="12D3KooWsick")
    server.faults += [Fault(route="submit", node=sick.participant, status=500) for _ in range(4)]
    async with desk(server, tmp_path) as ours:
        await ours.add(sick, *(well := [contribution() for _ in range(3)]))
        await ours.until_empty()
    assert counted(server) == expected(sick, *well)


# --- what the backend makes of the numbers -------------------------------------------------------


@pytest.mark.parametrize("places", [None, 0, 1, 2, 6])
@pytest.mark.parametrize("as_strings", [True, False])
async def test_alike_ones_are_told_apart_by_counting(
    server: SmallBackend, tmp_path: Path, places: int | None, as_strings: bool
) -> None:
    """All contents are the same. Every second answer is lost, half of these after counting."""
    server.quirk, server.places, server.row_strings = False, places, as_strings
    same = [contribution(compute_time=1.0, gradient_quality=0.0) for _ in range(8)]
    for number in range(1, 5):
        server.faults.append(Fault(route="submit", counted=bool(number % 2), cut=True))
        server.faults.append(Fault(route="submit", counted=True))
    async with desk(server, tmp_path) as ours:
        await ours.add(*same)
        await ours.until_empty()
    assert counted(server) == expected(*same)


async def test_nearly_alike_ones_arent_taken_for_each_other(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk = False
    near = [contribution(compute_time=50 + number / 1000) for number in range(6)]
    for number in range(6):
        server.faults.append(Fault(route="submit", counted=bool(number % 2), cut=True))
    async with desk(server, tmp_path) as ours:
        await ours.add(*near)
        await ours.until_empty()
    assert counted(server) == expected(*near)


async def test_one_that_is_rounded_next_to_a_confirmed_one_is_not_sent_twice(
    server: SmallBackend, tmp_path: Path
) -> None:
    """The row 99 of the second might be that of the first, 99.5, if the first had no row 100."""
    server.quirk, server.places = False, 0
    first, second = contribution(gradient_quality=99.5), contribution(gradient_quality=99.108)
    async with desk(server, tmp_path) as ours:
        await ours.add(first)
        await ours.until_empty()
        server.faults.append(Fault(route="submit", counted=True, cut=True))
        await ours.add(second)
        await ours.until_empty()
    assert counted(server) == expected(first, second)


# --- limits --------------------------------------------------------------------------------------


async def test_429_is_honoured_to_the_second(server: SmallBackend, tmp_path: Path) -> None:
    clocks = Clocks()
    budget = Budget(clock=lambda: clocks.steady)
    server.faults.append(Fault(route="submit", status=429, headers={"Retry-After": "600"}))
    async with desk(server, tmp_path, clock=clocks.clock(), budget=budget) as ours:
        await ours.add(contribution())
        pause = await ours.reporter.step()
        assert pause <= FAST.poll
        sent = len(server.requests)
        clocks.move(599)
        await ours.reporter.step()
        assert len(server.requests) == sent
        assert ours.reporter.state.status is ReportingStatus.WAITING
        clocks.move(2 + FAST.longest)
        await ours.reporter.step()
    assert len(server.rows) == 1


async def test_a_429_holds_after_a_restart(server: SmallBackend, tmp_path: Path) -> None:
    clocks = Clocks()
    server.faults.append(Fault(route="submit", status=429, headers={"Retry-After": "600"}))
    async with desk(server, tmp_path, clock=clocks.clock()) as ours:
        await ours.add(contribution())
        await ours.reporter.step()
    sent = len(server.requests)
    async with desk(server, tmp_path, clock=clocks.clock()) as ours:
        await ours.add(contribution())  # never tried, and yet it waits too
        await ours.reporter.step()
        assert len(server.requests) == sent
        clocks.move(601)
        await ours.until_empty()
    assert len(server.rows) == 2


async def test_a_backlog_stays_within_our_own_budget(server: SmallBackend, tmp_path: Path) -> None:
    clocks = Clocks()
    server.quirk = False
    budget = Budget(clock=lambda: clocks.steady)
    async with desk(server, tmp_path, clock=clocks.clock(), budget=budget) as ours:
        await ours.add(*(many := [contribution() for _ in range(150)]))
        await ours.reporter.step()
        assert len(server.requests) == 60
        assert ours.reporter.state.status is ReportingStatus.WAITING
        for _ in range(2):
            clocks.move(15 * 60 + 1)
            server.forget_requests()
            await ours.reporter.step()
        assert ours.reporter.state.status is ReportingStatus.ON
    assert counted(server) == expected(*many)


# --- a backend that is away, restarts, clocks ----------------------------------------------------


async def test_a_week_without_the_backend(server: SmallBackend, tmp_path: Path) -> None:
    clocks = Clocks()
    week = [contribution() for _ in range(20)]
    budget = Budget(clock=lambda: clocks.steady)
    pace = DeliveryPace(poll=3600.0)
    async with desk(server, tmp_path, pace=pace, clock=clocks.clock(), budget=budget) as ours:
        server.stop()
        tries, end = 0, clocks.wall + 7 * DAY
        while clocks.wall < end:
            if len(week) > tries // 10:
                await ours.add(week[tries // 10])
            before = ours.reporter.state.next_try
            pause = await ours.reporter.step()
            tries += ours.reporter.state.next_try != before
            clocks.move(max(pause, 30.0))
        assert ours.reporter.state.status is ReportingStatus.FAILING
        since = ours.reporter.state.since
        assert since is not None
        assert since < end - 6.9 * DAY
        assert 7 * 24 < tries < 1000  # an hour at most between two, and no hurry
        for each in week:
            await ours.add(each)  # those that had no turn above; again is as good as once
        server.start_again()
        for _ in range(10):
            clocks.move(pace.longest)
            await ours.reporter.step()
    assert counted(server) == expected(*week)


@pytest.mark.parametrize("offset", [-400 * DAY, -3600.0, 14 * 3600.0, 400 * DAY])
async def test_a_wrong_clock_of_the_backend_changes_nothing(
    server: SmallBackend, tmp_path: Path, offset: float
) -> None:
    server.offset = offset
    for number in range(4):
        server.faults.append(Fault(route="live", counted=bool(number % 2), cut=True))
    async with desk(server, tmp_path) as ours:
        await ours.add(*(some := [contribution() for _ in range(4)]))
        await ours.until_empty()
    assert counted(server) == expected(*some)


@pytest.mark.parametrize("jump", [-400 * DAY, 400 * DAY])
async def test_our_clock_may_jump(server: SmallBackend, tmp_path: Path, jump: float) -> None:
    clocks = Clocks()
    server.faults.append(Fault(route="submit", status=403, body={"message": "Forbidden"}))
    async with desk(server, tmp_path, clock=clocks.clock()) as ours:
        await ours.add(one := contribution())
        await ours.reporter.step()
        assert await ours.state_of(one) is OutboxState.WAITING
        clocks.wall += jump
        clocks.move(1.0)
        await ours.reporter.step()
    assert counted(server) == expected(one)


async def test_one_in_doubt_is_settled_after_a_restart(
    server: SmallBackend, tmp_path: Path
) -> None:
    for is_counted in (True, False):
        server.faults.append(Fault(route="live", counted=is_counted, cut=True))
    async with desk(server, tmp_path, pace=DeliveryPace(first=0.0, settle=60.0)) as ours:
        await ours.add(*(some := [contribution() for _ in range(2)]))
        await ours.reporter.step()
        await ours.reporter.step()
        assert len(await ours.ledger.outbox.run(Outbox.uncertain)) == 2
    async with desk(server, tmp_path) as ours:
        await ours.until_empty()
    assert counted(server) == expected(*some)
    assert read_backs(server) == 2  # one for both, and one to see what is known


async def test_a_failing_read_back_holds_nobody_up(server: SmallBackend, tmp_path: Path) -> None:
    server.quirk = False
    server.faults.append(Fault(route="submit", counted=True, cut=True))
    server.faults += [Fault(route="read_back", status=500), Fault(route="read_back", html=True)]
    async with desk(server, tmp_path) as ours:
        await ours.add(*(some := [contribution() for _ in range(3)]))
        await ours.until_empty()
    assert counted(server) == expected(*some)
    assert read_backs(server) == 3


async def test_a_read_back_larger_than_any_other_reply_settles_what_is_in_doubt(
    server: SmallBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.quirk = False
    async with desk(server, tmp_path) as ours:
        await ours.add(*(some := [contribution() for _ in range(40)]))
        await ours.until_empty()
        monkeypatch.setattr("app.backend.http.MAX_REPLY_BYTES", 1000)
        server.faults.append(Fault(route="submit", counted=True, cut=True))
        await ours.add(last := contribution())
        await ours.until_empty()
        assert await ours.remark_on(last) == "read back"
    assert counted(server) == expected(*some, last)


@pytest.mark.parametrize("message", ["x" * 60_000, ["x" * 100] * 500])
async def test_a_long_reason_is_kept_short(
    server: SmallBackend, tmp_path: Path, message: str | list[str]
) -> None:
    server.quirk = False
    refusal = {"statusCode": 413, "message": message}
    server.faults.append(Fault(route="submit", status=413, body=refusal))
    async with desk(server, tmp_path) as ours:
        await ours.add(one := contribution())
        await ours.until_empty()
        assert await ours.state_of(one) is OutboxState.REFUSED
        assert len(await ours.remark_on(one)) < 600


# --- a damaged ledger ----------------------------------------------------------------------------


async def test_what_a_damaged_ledger_held_is_still_counted_once(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk = False
    key = MachineKey.load_or_create(tmp_path / "machine.key")
    some = [contribution().signed(key) for _ in range(30)]
    async with desk(server, tmp_path) as ours:
        await ours.add(*some[:10])
        await ours.until_empty()
        server.faults.append(Fault(route="submit", counted=True, cut=True))
        await ours.add(some[10])
        await ours.reporter.step()
        await ours.add(*some[11:])
        assert await ours.state_of(some[10]) is OutboxState.SENDING
        assert await ours.state_of(some[-1]) is OutboxState.WAITING
        ours.reporter._sending.fail(at_least=1e6)  # closing sends nothing more
    file = tmp_path / "ledger.sqlite"
    content = await asyncio.to_thread(file.read_bytes)
    await asyncio.to_thread(file.write_bytes, bytes(4096) + content[4096:])
    async with desk(server, tmp_path) as ours:
        await ours.until_empty()
    assert counted(server) == expected(*some)


# --- which backend, and which session ------------------------------------------------------------


async def test_a_change_of_the_backend_sends_nothing_to_the_wrong_one(
    server: SmallBackend, tmp_path: Path
) -> None:
    """Session 7 of one backend is another one's session 7."""
    server.quirk = False
    with SmallBackend() as other:
        other.quirk = False
        async with desk(server, tmp_path) as ours:
            server.faults.append(Fault(route="submit", counted=True, cut=True))
            await ours.add(in_doubt := contribution())
            await ours.reporter.step()
            await ours.add(waiting := contribution())
            assert await ours.state_of(in_doubt) is OutboxState.SENDING
        async with desk(other, tmp_path) as ours:
            await ours.reporter.retry()
            await ours.add(new := contribution())
            await ours.until_empty()
            assert await ours.state_of(in_doubt) is OutboxState.SENDING
            assert await ours.state_of(waiting) is OutboxState.WAITING
            assert await ours.ledger.run(Ledger.elsewhere) == {server.url: 2}
        assert counted(other) == expected(new)
        async with desk(server, tmp_path) as ours:
            await ours.until_empty()
        assert counted(other) == expected(new)
    assert counted(server) == expected(in_doubt, waiting)


CLAIMED: dict[str, list[dict[str, Any]]] = {
    "nothing is listed": [],
    "the session is another run's": [listed("another run", 7)],
    "the run has another session": [listed("run", 8)],
    "the uuid is another session's": [listed("another run", 7, id="its uuid")],
    "it says no number": [listed("run", configuration={"run_id": "run"})],
    "it says nothing": [listed("run", configuration=None)],
    "odd values": [listed("run", configuration={"run_id": ["run"], "session_id": "7"})],
}


@pytest.mark.parametrize("training_id", [None, "its uuid"])
@pytest.mark.parametrize("sessions", CLAIMED.values(), ids=CLAIMED)
async def test_an_invite_cannot_claim_a_session_that_is_not_listed_for_its_run(
    server: SmallBackend, tmp_path: Path, sessions: list[dict[str, Any]], training_id: str | None
) -> None:
    server.quirk, server.sessions = False, sessions
    async with desk(server, tmp_path) as ours:
        await ours.add(*(some := [contribution(training_id=training_id) for _ in range(2)]))
        await ours.until_empty()
        for each in some:
            assert await ours.state_of(each) is OutboxState.LOCAL
            assert "no session 7 for the swarm run" in await ours.remark_on(each)
        assert list((await ours.ledger.run(Ledger.kept)).values()) == [2]
        assert not server.rows
        server.sessions = [*sessions, listed("run", 7)]
        await ours.reporter.retry()
        await ours.until_empty()
    assert counted(server) == expected(*some)


async def test_a_session_that_is_not_listed_is_asked_for_once_an_hour(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk, server.sessions = False, []
    clocks = Clocks()
    async with desk(server, tmp_path, clock=clocks.clock()) as ours:
        some = [contribution() for _ in range(4)]
        for each in some[:3]:
            await ours.add(each)
            await ours.reporter.step()
            assert await ours.state_of(each) is OutboxState.LOCAL
            clocks.move(60.0)
        assert server.requests.count(("GET", "/api/v1/training")) == 1
        ((claim, reason),) = ours.reporter.state.kept
        assert (claim, "no session 7" in reason) == (("run", 7), True)
        server.sessions = [listed("run", 7)]
        clocks.move(LISTED_AGAIN_SECONDS)
        await ours.add(some[3])
        await ours.reporter.step()
        assert ours.reporter.state.kept == ()
    assert counted(server) == expected(*some)  # those that were kept as well


async def test_of_two_sessions_of_a_run_the_listed_one_is_reported(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk, server.sessions = False, [listed("run", 7)]
    async with desk(server, tmp_path) as ours:
        kept, reported = contribution(session_id=8), contribution()
        await ours.add(kept, reported, again := contribution(session_id=8))
        await ours.until_empty()
        await ours.reporter.retry()
        await ours.until_empty()
        assert [await ours.state_of(each) for each in (kept, again)] == [OutboxState.LOCAL] * 2
    assert counted(server) == expected(reported)


@pytest.mark.parametrize("number", [-1, 2**63, True, "7", 7.0])
async def test_a_session_with_an_odd_number_has_none(
    server: SmallBackend, tmp_path: Path, number: Any
) -> None:
    server.sessions = [listed("run", configuration={"run_id": "run", "session_id": None})]
    server.sessions[0]["sessionId"] = number
    async with desk(server, tmp_path) as ours:
        (session,) = (await ours.backend.sessions(page=1, limit=10)).data
        assert session.number is None


async def test_a_session_that_says_its_number_beside_its_spec_is_known(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk = False
    server.sessions = [listed("run", configuration={"run_id": "run", "session_id": None})]
    server.sessions[0]["sessionId"] = 7
    async with desk(server, tmp_path) as ours:
        await ours.add(one := contribution())
        await ours.until_empty()
    assert counted(server) == expected(one)


async def test_a_session_is_found_by_its_uuid_or_on_a_later_page(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk = False
    server.sessions = [listed(f"run {number}", number) for number in range(120)]
    server.sessions += [listed("long", 1000, id="a uuid")]
    async with desk(server, tmp_path) as ours:
        by_uuid = contribution(run_id="long", session_id=1000, training_id="a uuid")
        by_page = contribution(run_id="run 110", session_id=110)
        await ours.add(by_uuid, by_page)
        await ours.until_empty()
        assert await ours.state_of(by_uuid) is OutboxState.CONFIRMED
        assert await ours.state_of(by_page) is OutboxState.CONFIRMED


async def test_a_backend_that_cannot_say_is_asked_again(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk = False
    server.faults += [Fault(route="trainings", status=500), Fault(route="trainings", html=True)]
    async with desk(server, tmp_path) as ours:
        await ours.add(one := contribution())
        await ours.until_empty()
    assert counted(server) == expected(one)


# --- its life ------------------------------------------------------------------------------------


async def test_it_works_by_itself_and_wakes(server: SmallBackend, tmp_path: Path) -> None:
    async with desk(server, tmp_path, pace=DeliveryPace()) as ours:
        ours.reporter.start()
        for number in (1, 2):
            await ours.add(one := contribution())
            ours.reporter.wake()
            await until(lambda wanted=number: len(server.rows) == wanted)
        await ours.reporter.close()
        await ours.reporter.close()
        assert await ours.state_of(one) is OutboxState.CONFIRMED


async def test_closing_sends_what_waits(
    server: SmallBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backend.delivery.LAST_CALL_SECONDS", 60.0)
    server.quirk = False
    async with desk(server, tmp_path) as ours:
        ours.reporter.start()
        await until(lambda: bool(ours.states))
        await ours.add(one := contribution())
        await ours.reporter.close()
        assert await ours.state_of(one) is OutboxState.CONFIRMED


async def test_closing_lets_the_report_under_way_end(
    server: SmallBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backend.delivery.LAST_CALL_SECONDS", 0.0)
    server.quirk = False
    closes = threading.Event()
    server.faults.append(Fault(route="submit", held=closes))
    async with desk(server, tmp_path) as ours:
        await ours.add(one := contribution(), other := contribution())
        ours.reporter.start()
        await until(lambda: not server.faults)
        closing = asyncio.create_task(ours.reporter.close())
        await until(lambda: ours.reporter._closing)
        closes.set()
        await closing
        assert await ours.state_of(one) is OutboxState.CONFIRMED
        assert await ours.state_of(other) is OutboxState.WAITING


async def test_closing_doesnt_wait_for_ever(
    server: SmallBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backend.delivery.CLOSE_SECONDS", 0.1)
    server.quirk = False
    server.faults.append(Fault(route="submit", silent=True, counted=True))
    async with desk(server, tmp_path) as ours:
        await ours.add(one := contribution())
        ours.reporter.start()
        await until(lambda: bool(server.rows))
        await ours.reporter.close()
        assert await ours.state_of(one) is OutboxState.SENDING
    async with desk(server, tmp_path) as ours:
        await ours.until_empty()
        assert await ours.state_of(one) is OutboxState.CONFIRMED
    assert len(server.rows) == 1


@pytest.mark.logs_error("reporting failed")
async def test_a_defect_doesnt_end_it(
    server: SmallBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with desk(server, tmp_path) as ours:
        monkeypatch.setattr(ours.reporter, "_ways", None)
        await ours.add(one := contribution())
        ours.reporter.start()
        await until(lambda: "reporting failed" in caplog.text)
        monkeypatch.undo()
        await until(lambda: bool(server.rows))
    assert counted(server) == expected(one)
