"""What is seen of a swarm before joining it."""

import time
from contextlib import asynccontextmanager
from typing import Any

from app.p2p.machine_records import LEFT, MachineRecord
from app.p2p.scout import Call, CallOutcome
from app.spec import schema
from app.swarm.connection_check import MOST_ENTRIES
from app.swarm.look import MOST_LOOKS, SeenFromOutside, look
from tests.support.machine.machines import record
from tests.support.training.specs import PEER, SMALLEST

GOOD = Call(answer=CallOutcome.PEER)
SILENT = Call(answer=CallOutcome.NOBODY)


class Stranger:
    """A scout that sees what it was told to."""

    def __init__(self, *seen: dict[str, MachineRecord], answer: Call = GOOD) -> None:
        self._seen, self._answer = list(seen), answer
        self.called: list[str] = []
        self.open = False
        self.looks = 0

    @asynccontextmanager
    async def __call__(self, _run_id: str) -> Any:
        self.open = True
        try:
            yield self
        finally:
            self.open = False

    async def call(self, peer_id: str, _addresses: list[str]) -> Call:
        self.called.append(peer_id)
        return self._answer

    async def machines(self) -> dict[str, MachineRecord]:
        self.looks += 1
        return self._seen.pop(0) if self._seen else {}

    async def trainers(self) -> int:
        return 2


def spec_of(*entries: str) -> schema.SwarmSpec:
    return schema.parse(SMALLEST | {"initial_peers": list(entries or (PEER,))})


def machine(**changes: Any) -> MachineRecord:
    return record(**({"time": time.time()} | changes))


async def all_of(stranger: Stranger, *, lab: str = "") -> list[SeenFromOutside]:
    seen = look(spec_of(), lab=lab, scout=stranger, every=0)  # type: ignore[arg-type]
    return [each async for each in seen]


async def test_machines_and_those_of_our_lab_are_counted_as_they_come() -> None:
    first = {"a": machine(lab="ours"), "b": machine(), "c": machine(state=LEFT)}
    stranger = Stranger(first, {"d": machine(lab="ours")})
    seen = await all_of(stranger, lab="ours")
    assert [(each.machines, each.of_lab) for each in seen[:2]] == [(2, 1), (3, 2)]
    assert {each.training for each in seen} == {2}
    assert len(seen) == stranger.looks == MOST_LOOKS
    assert not stranger.open


async def test_without_a_lab_none_is_of_it() -> None:
    seen = await all_of(Stranger({"a": machine(lab="")}))
    assert (seen[0].machines, seen[0].of_lab) == (1, 0)


async def test_where_nobody_answers_it_ends_at_once() -> None:
    stranger = Stranger(answer=SILENT)
    assert await all_of(stranger) == [SeenFromOutside(called=1, answered=0)]
    assert stranger.looks == 0
    assert not stranger.open


async def test_no_more_peers_are_called_than_a_check_calls() -> None:
    stranger = Stranger(answer=SILENT)
    peers = [PEER[:-2] + f"{number:02}" for number in range(40)]
    seen = look(spec_of(*peers), lab="", scout=stranger)  # type: ignore[arg-type]
    assert (await anext(seen)).called == len(stranger.called) == MOST_ENTRIES


async def test_whoever_stops_looking_ends_the_scout() -> None:
    stranger = Stranger({})
    seen = look(spec_of(), lab="", scout=stranger)  # type: ignore[arg-type]
    await anext(seen)
    assert stranger.open
    await seen.aclose()  # type: ignore[attr-defined]
    assert not stranger.open
