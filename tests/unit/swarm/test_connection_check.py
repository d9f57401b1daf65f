"""What is found, in words, when one asks why there is no connection."""

import socket
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app import __version__
from app.p2p.calls import CallError
from app.p2p.network import any_free_port
from app.p2p.scout import Call, CallOutcome
from app.settings.settings import Settings
from app.spec import schema as spec
from app.swarm import connection_check as diagnosis
from app.swarm.connection_check import Finding, Grade, Subject, diagnose
from tests.support.processes.apps import tiny_spec

PEER_ID = "QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX"
GOOD = Call(answer=CallOutcome.PEER, latency=0.02, clock=0.1)


class FakeScout:
    """Answers what it was told to."""

    def __init__(self, call: Call = GOOD, *, trainers: int = 2, error: str = "") -> None:
        self._call, self._trainers, self._error = call, trainers, error
        self.run_id = ""

    def __call__(self, run_id: str) -> Any:
        self.run_id = run_id
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> Any:
        if self._error:
            raise CallError(self._error.splitlines()[0], details=self._error)
        yield self

    async def call(self, peer_id: str, addresses: list[str]) -> Call:
        return self._call

    async def trainers(self) -> int:
        return self._trainers


@pytest.fixture
def port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def entry(port: int, host: str = "ip4/127.0.0.1") -> str:
    return f"/{host}/tcp/{port}/p2p/{PEER_ID}"


def subject(*entries: str, **changes: Any) -> Subject:
    found = spec.parse(tiny_spec(local=False, initial_peers=list(entries)))
    return Subject(**{"settings": Settings(dht_port=0), "spec": found} | changes)


async def found(one: Subject, scout: FakeScout | None = None) -> dict[str, Finding]:
    """The findings by what was looked at."""
    findings = [each async for each in diagnose(one, scout=scout or FakeScout())]  # type: ignore[arg-type]
    return {each.check.partition(" ")[0]: each for each in findings}


async def test_all_is_well(port: int) -> None:
    scout = FakeScout()
    findings = await found(subject(entry(port)), scout)
    assert list(findings) == ["Port", "Way", "Peer", "Clock", "Run", "From"]
    good = [name for name, each in findings.items() if each.verdict is Grade.GOOD]
    assert good == ["Port", "Way", "Peer", "Clock", "Run"]
    assert scout.run_id == "tiny"


async def test_taken_port_before_joining(port: int) -> None:
    findings = await found(subject(settings=Settings(dht_port=port)))
    assert findings["Port"].verdict is Grade.CAUTION
    assert str(port) in findings["Port"].text
    assert findings["Port"].remedy


async def test_another_port_than_wanted_while_in_the_swarm() -> None:
    one = subject(settings=Settings(dht_port=8080), node=object(), addresses=(entry(41233),))
    findings = await found(one)
    assert "8080" in findings["Port"].text
    assert "41233" in findings["Port"].text
    kept = subject(settings=Settings(dht_port=41233), node=object(), addresses=(entry(41233),))
    assert (await found(kept))["Port"].verdict is Grade.GOOD


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(), "name"),
        (ConnectionRefusedError(), "nothing listens"),
        (TimeoutError(), "No answer"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
    ],
)
async def test_no_way(error: OSError, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(host: str, port: int) -> float:
        raise error

    monkeypatch.setattr(diagnosis.network, "call", fail)
    findings = await found(subject(entry(1)))
    assert findings["Way"].verdict is Grade.BAD
    assert words in findings["Way"].text
    assert findings["Way"].remedy


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (CallOutcome.SOMEBODY_ELSE, "Another peer"),
        (CallOutcome.NO_NODE, "not as a node"),
        (CallOutcome.NOBODY, "No peer answers"),
    ],
)
async def test_somebody_else_or_nobody(port: int, answer: CallOutcome, words: str) -> None:
    findings = await found(subject(entry(port)), FakeScout(Call(answer=answer)))
    assert findings["Peer"].verdict is Grade.BAD
    assert words in findings["Peer"].text
    assert findings["Clock"].verdict is Grade.UNKNOWN
    assert "Run" not in findings


@pytest.mark.parametrize(
    ("clock", "verdict", "words"),
    [
        (0.5, Grade.GOOD, "right"),
        (2.0, Grade.CAUTION, "2.0 s behind"),
        (-12.0, Grade.BAD, "12.0 s ahead"),
    ],
)
async def test_clock(port: int, clock: float, verdict: Grade, words: str) -> None:
    findings = await found(
        subject(entry(port)), FakeScout(Call(answer=CallOutcome.PEER, clock=clock))
    )
    assert findings["Clock"].verdict is verdict
    assert words in findings["Clock"].text


async def test_one_way_is_enough(port: int) -> None:
    closed = entry(any_free_port())
    one = subject(closed, entry(port))
    ways = [each async for each in diagnose(one, scout=FakeScout()) if "Way" in each.check]
    assert [each.verdict for each in ways] == [Grade.CAUTION, Grade.GOOD]


async def test_nobody_trains_in_the_run(port: int) -> None:
    findings = await found(subject(entry(port)), FakeScout(trainers=0))
    assert findings["Run"].verdict is Grade.CAUTION
    assert "invite" in findings["Run"].remedy


@pytest.mark.parametrize(
    ("others", "verdict"),
    [((__version__, __version__), Grade.GOOD), ((__version__, "9.9"), Grade.CAUTION)],
)
async def test_versions(port: int, others: tuple[str, ...], verdict: Grade) -> None:
    findings = await found(subject(entry(port), versions=others))
    assert findings["Version"].verdict is verdict
    assert ("9.9" in findings["Version"].text) == ("9.9" in others)


async def test_a_daemon_that_does_not_start(port: int) -> None:
    findings = await found(subject(entry(port)), FakeScout(error="no p2pd\nat all"))
    assert findings["Peer-to-peer"].verdict is Grade.BAD
    assert "no p2pd." in findings["Peer-to-peer"].text


async def test_who_begins_a_swarm_has_nobody_to_call() -> None:
    assert list(await found(subject())) == ["Port", "Peers", "From"]


async def test_a_swarm_of_this_machine_needs_no_network() -> None:
    one = subject(spec=spec.parse(tiny_spec()))
    assert list(await found(one)) == ["Port", "Swarm"]


@pytest.mark.parametrize(
    ("called", "addresses", "verdict", "words"),
    [
        (True, (), Grade.GOOD, "directly"),
        (False, (f"/ip4/9.9.9.9/tcp/1/p2p/Qm/p2p-circuit/p2p/{PEER_ID}",), Grade.GOOD, "1 relay"),
        (None, ("/ip4/10.0.0.2/tcp/8080",), Grade.CAUTION, "own network"),
        (None, (), Grade.UNKNOWN, "could tell"),
    ],
)
async def test_from_outside(
    called: bool | None,
    addresses: tuple[str, ...],
    verdict: Grade,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(node: object, peer_ids: object) -> bool | None:
        return called

    monkeypatch.setattr(diagnosis, "called_back", answer)
    findings = await found(subject(node=object(), addresses=addresses))
    assert findings["From"].verdict is verdict
    assert words in findings["From"].text


async def test_client_mode_is_not_to_be_reached() -> None:
    one = subject(settings=Settings(dht_port=0, reachability="client"), node=object())
    findings = await found(one)
    assert (findings["From"].verdict, findings["Port"].verdict) == (Grade.GOOD, Grade.GOOD)
