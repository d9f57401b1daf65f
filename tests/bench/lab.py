"""Twenty machines under one admin: all commanded at once, none twice, and what is refused.

    python tests/bench/lab.py [MACHINES]

Real peers in one swarm of this machine, which only watch; the admin enters with a node of his own.
Prints what was measured and what the machines wrote into their audit logs; the exit status is 1 if
anything isn't as it must be.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from app.common.background import end  # noqa: E402
from app.common.paths import Folders  # noqa: E402
from app.headless.commanding import machines_of  # noqa: E402
from app.lab.admin import LabAdmin  # noqa: E402
from app.lab.messages import (  # noqa: E402
    MOST_ANSWER_BYTES,
    PROTOCOL,
    ChangeSettings,
    LabOrder,
    LabVerdict,
    StopTraining,
    digest_of,
    new_order,
    open_answer,
    seal_order,
)
from app.lab.numbers import FILE_NAME, CommandNumbers  # noqa: E402
from app.p2p import calls  # noqa: E402
from app.p2p.scout import Scout  # noqa: E402
from app.p2p.streams import frames  # noqa: E402
from app.swarm.fleet import Machine  # noqa: E402
from tests.support.lab.observers import Observer, admin_of, all_open, lab_key  # noqa: E402
from tests.support.machine.machines import new_key  # noqa: E402

MACHINES = 20
WITHIN_SECONDS = 5.0
PATIENCE = 120.0
STRANGERS = 3
MOST_HELD = 500
RUN = "tiny"


class Bench:
    """The machines by public key, and the admin."""

    def __init__(
        self, observers: Sequence[Observer], admin: LabAdmin, node: Any, home: Path
    ) -> None:
        self.observers, self.admin, self.node = observers, admin, node
        self.key = lab_key(home)
        self._numbers = CommandNumbers(Folders.under(home).data / FILE_NAME)
        self.failures: list[str] = []

    def check(self, holds: bool, text: str) -> None:
        """Print a finding, and remember a bad one."""
        print(f"{'ok  ' if holds else 'FAIL'}  {text}", flush=True)
        if not holds:
            self.failures.append(text)

    def number(self) -> int:
        """The next one of the admin's."""
        return self._numbers.take(1)[0]

    async def send(self, machine: Machine, sealed: bytes) -> bytes:
        """What anybody can send."""
        return await frames.ask(
            self.node.p2p,
            machine.record.peer_ids[0],
            protocol=PROTOCOL,
            message=sealed,
            most=MOST_ANSWER_BYTES,
            seconds=PATIENCE,
        )

    async def told(self, machine: Machine, order: LabOrder) -> tuple[str, str]:
        """The verdict and text of a signed answer."""
        sealed = seal_order(order, self.key)
        reply = await self.send(machine, sealed)
        answer = open_answer(reply, machine.public_key, digest_of(sealed))
        assert answer is not None, reply
        return answer.verdict.value, answer.text

    async def lose_answer(self, machine: Machine, sealed: bytes) -> None:
        """Send a command, and hang up before the answer."""
        peer = machine.record.peer_ids[0]
        _reader, writer = await calls.open_stream(
            self.node.p2p, peer, protocol=PROTOCOL, seconds=PATIENCE
        )
        await frames.send(writer, sealed)
        writer.close()

    def counted(self) -> Counter[tuple[str, int, str]]:
        """How often each outcome of each command stands in a machine's audit log."""
        return Counter(
            (each.alias, line.get("number", 0), line["outcome"])
            for each in self.observers
            for line in each.audited()
        )


async def all_see(node: Any, count: int) -> list[Machine]:
    """All machines, once they show themselves."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await machines_of(node, RUN)) < count:  # noqa: ASYNC110  read again
            await asyncio.sleep(0.5)
    return found


async def all_at_once(bench: Bench, machines: list[Machine]) -> None:
    began = time.monotonic()
    outcomes = await bench.admin.command(machines, ChangeSettings(values={"threads": "3"}))
    took = time.monotonic() - began
    done = sum(each.outcome is LabVerdict.DONE for each in outcomes)
    bench.check(done == len(machines), f"{done} of {len(machines)} machines did as they were told")
    bench.check(took <= WITHIN_SECONDS, f"all of them within {took:.2f} s")
    obeyed = sum(each.session.store.settings.threads == 3 for each in bench.observers)
    bench.check(obeyed == len(machines), f"{obeyed} have the new setting")


async def none_twice(bench: Bench, machines: list[Machine]) -> None:
    number = bench.number()
    orders = {
        machine.public_key: seal_order(
            new_order(RUN, machine.public_key, number, ChangeSettings(values={"threads": "4"})),
            bench.key,
        )
        for machine in machines
    }
    for _ in range(2):  # both answers are lost
        await asyncio.gather(
            *(bench.lose_answer(each, orders[each.public_key]) for each in machines)
        )
    answers = await asyncio.gather(
        *(bench.send(each, orders[each.public_key]) for each in machines)
    )
    verdicts = Counter(
        answer.verdict.value
        for machine, reply in zip(machines, answers, strict=True)
        if (answer := open_answer(reply, machine.public_key, digest_of(orders[machine.public_key])))
    )
    bench.check(
        verdicts == {"done": len(machines)}, f"after two lost answers, asked again: {verdicts}"
    )
    counts = bench.counted()
    ran = [counts[each.alias, number, "done"] for each in bench.observers]
    again = sum(counts[each.alias, number, "asked again"] for each in bench.observers)
    bench.check(set(ran) == {1}, f"each carried it out once; asked again {again} times")


async def refused(bench: Bench, machine: Machine) -> None:
    fresh = new_order(RUN, machine.public_key, bench.number(), StopTraining())
    reply = await bench.send(machine, seal_order(fresh, new_key()))
    bench.check(reply == b"key", f"forged: {reply.decode()}")
    old = new_order(RUN, machine.public_key, 7, StopTraining())
    said = await bench.told(machine, old)
    bench.check(said[0] == "refused", f"replayed under an older number: {said}")
    now = int(time.time() * 1000)
    past = msgspec.structs.replace(
        fresh, issued=now - 64_000, expires=now - 4000, number=bench.number()
    )
    said = await bench.told(machine, past)
    bench.check(said[0] == "refused", f"expired: {said}")
    elsewhere = msgspec.structs.replace(fresh, run="other", number=bench.number())
    said = await bench.told(machine, elsewhere)
    bench.check(said[0] == "refused", f"of another swarm: {said}")
    other = msgspec.structs.replace(fresh, machine=new_key().public_key, number=bench.number())
    said = await bench.told(machine, other)
    bench.check(said[0] == "refused", f"redirected from another machine: {said}")


async def under_a_flood(bench: Bench, machines: list[Machine], entries: tuple[str, ...]) -> None:
    """Strangers open as many streams as they can, and send nothing, or forgeries."""
    target = machines[0].record.peer_ids[0]
    garbage = seal_order(
        new_order(RUN, machines[0].public_key, bench.number(), StopTraining()), new_key()
    )
    sent = 0

    async def flood(p2p: Any, number: int) -> None:
        nonlocal sent
        while True:
            with suppress(calls.CallError, OSError):
                _reader, writer = await calls.open_stream(
                    p2p, target, protocol=PROTOCOL, seconds=PATIENCE
                )
                if number % 2:
                    await frames.send(writer, garbage)
                sent += 1
                if len(held) > MOST_HELD:
                    held.pop(0).close()
                held.append(writer)

    held: list[asyncio.StreamWriter] = []
    async with AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(Scout(RUN, entries)) for _ in range(STRANGERS)]
        floods = [
            asyncio.create_task(flood(each.node.p2p, number))
            for each in strangers
            for number in range(8)
        ]
        await asyncio.sleep(3.0)
        before, began = sent, time.monotonic()
        outcomes = await bench.admin.command(machines, ChangeSettings(values={"threads": "6"}))
        took = time.monotonic() - began
        rate = (sent - before) / took
        await end(*floods)
        for writer in held:
            writer.close()
    done = sum(each.outcome is LabVerdict.DONE for each in outcomes)
    bench.check(done == len(machines), f"under a flood of {rate:.0f} streams/s, {done} obeyed")
    bench.check(took <= WITHIN_SECONDS, f"within {took:.2f} s")


async def after_a_restart(bench: Bench, machine: Machine, entries: tuple[str, ...]) -> None:
    """The same bytes as before the restart: nothing runs, the answer is the stored one."""
    before = next(
        each for each in bench.observers if each.session.machines.public_key == machine.public_key
    )
    order = new_order(
        RUN, machine.public_key, bench.number(), ChangeSettings(values={"threads": "5"})
    )
    sealed = seal_order(order, bench.key)
    first = await bench.send(machine, sealed)
    await before.close()
    again = Observer(before.folders.data.parent, before.alias, bench.key.public_key)
    await again.open(entries)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    second = await bench.send(machine, sealed)
                    break
                except calls.CallError:
                    await asyncio.sleep(0.5)
        bench.check(second == first, "replayed after a restart: the stored answer")
        threads = again.session.store.settings.threads
        bench.check(threads != 5, f"and nothing ran again (threads: {threads})")
    finally:
        await again.close()


async def main(count: int) -> int:
    with tempfile.TemporaryDirectory(prefix="cotrain-lab-") as folder:
        root = Path(folder)
        home = root / "admin"
        key = lab_key(home).public_key
        observers = [Observer(root, f"lab-{number:02}", key) for number in range(count)]
        async with AsyncExitStack() as stack:
            entries = await all_open(observers, stack)
            print(f"{count} machines are in the swarm", flush=True)
            admin, node = await stack.enter_async_context(admin_of(home, entries))
            machines = await all_see(node, count)
            bench = Bench(observers, admin, node, home)
            await all_at_once(bench, machines)
            await none_twice(bench, machines)
            await refused(bench, machines[-1])
            for line in observers[-1].audited()[-5:]:
                print("      audit:", line["outcome"], line["message"], line.get("text", ""))
            await under_a_flood(bench, machines, entries)
            await after_a_restart(bench, machines[-1], entries)
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else MACHINES)))
