"""`make faults`: what fails out there, done on purpose to real apps; who notices, and for how long?

    python tests/bench/faults.py [--runs N] [--only FAULT]… [--results FILE]
    python tests/bench/faults.py --table [--results FILE]

Apps train the tiny spec together on the built-in text. One of them, the victim, meets a fault at a
random moment of an epoch. Each run appends a line of JSON to the results; runs of several sessions
add up, and each has another seed. The table of all of them is that of `docs/faults.md`:

- held: in how many runs all trained together again, nothing was left behind, and nobody was shown
  a traceback
- others: seconds from the fault's begin until the witness had ended two epochs, be it alone
- victim: until the victim was in a round with another again; of both, median and worst
- lost: samples of all peers that were computed and entered no round, median and worst. A round that
  is under way at the end is lost as well, in "none" too.
- missing: samples of the victim that entered a round and are not in its ledger, the most of all
  runs; below 0 where some are counted twice. Its trainer may have had a round that no progress line
  shows: an epoch takes seconds, and a line comes twice a second.
- doubled: contributions of one machine whose times overlap
- told: what the victim's user was shown meanwhile

Networks need root, `ip` and `tc`; a clock that is wrong needs Debian's libfaketime; a full disk
needs the right to mount.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
os.environ["COTRAIN_NICENESS"] = "0"  # else a busy machine leaves the trainers no time
os.environ["COTRAIN_TEST_RUN"] = f"faults-{os.getpid()}"  # marks all that the apps start
sys.path.insert(0, str(ROOT))

from tests.bench.parts.harms import FAULTS, Fault  # noqa: E402
from tests.bench.parts.swarms import (  # noqa: E402
    FAKETIME,
    Clock,
    Outcome,
    Swarm,
    in_round,
    outcome_of,
    small_disk,
)
from tests.support.network.networks import internet, why_not  # noqa: E402
from tests.support.processes.apps import App, Line  # noqa: E402

RESULTS = ROOT / "docs" / "faults.jsonl"

SETTLED = 2
"""Rounds together before the fault."""

PATIENCE = 420.0
"""Seconds until a run counts as not held."""


# --- a run


async def run(name: str, number: int) -> Outcome:
    """Two apps train together, one meets the fault, both must go on together."""
    fault = FAULTS[name]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, contextlib.ExitStack() as stack:
        swarm = Swarm(Path(folder), number, fault.spec)
        if fault.networked:
            swarm.net = stack.enter_context(internet())
        if fault.small_disk:
            stack.enter_context(small_disk(swarm.folder / "victim"))
        if fault.clocked:
            swarm.clock = Clock(swarm.folder / "clock")
        seconds: tuple[float | None, float | None] = (None, None)
        try:
            with contextlib.suppress(TimeoutError, AssertionError):  # it counts as not held
                seconds = await _run(swarm, fault)
        finally:
            for app in (*swarm.guests, *reversed(swarm.apps)):
                await app.stop()
        return outcome_of(swarm, fault=name, seconds=seconds)


async def _run(swarm: Swarm, fault: Fault) -> tuple[float | None, float | None]:
    await swarm.found()
    await swarm.join("victim")
    for app in swarm.apps:
        await app.wait_for(lambda line: in_round(line, beyond=SETTLED))
    began, epoch = time.monotonic(), swarm.witness.last["epoch"] or 0
    others = asyncio.create_task(
        _seconds_until(swarm.witness, lambda line: (line["epoch"] or 0) > epoch + 1, began=began)
    )
    await fault.do(swarm)
    victim = await _seconds_until(
        swarm.victim, lambda line: in_round(line, beyond=epoch + 1), began=began
    )
    return await others, victim


async def _seconds_until(app: App, is_it: Callable[[Line], bool], *, began: float) -> float | None:
    """Since the fault's begin; None if it never came."""
    try:
        async with asyncio.timeout(PATIENCE):
            await app.wait_for(is_it, after=len(app.lines))
    except (TimeoutError, AssertionError):
        return None
    return time.monotonic() - began


def cannot(fault: Fault) -> str:
    """Why this machine can't do such a harm, or ""."""
    if fault.clocked and not FAKETIME.exists():
        return "libfaketime is not installed"
    if fault.small_disk and os.geteuid() != 0:
        return "mounting needs root"
    return why_not() if fault.networked else ""


# --- the results


def read(results: Path) -> list[Outcome]:
    """All runs so far."""
    if not results.exists():
        return []
    outcomes = []
    for line in results.read_text().splitlines():
        kept = json.loads(line)
        texts = {name: tuple(kept[name]) for name in ("told", "left")}
        outcomes.append(Outcome(**kept | texts))
    return outcomes


def table(outcomes: list[Outcome]) -> list[str]:
    """The table of `docs/faults.md`, a row a fault."""
    rows = [
        "| fault | held | others | victim | lost | missing | doubled | told |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in FAULTS:
        found = [each for each in outcomes if each.fault == name]
        if found:
            rows.append(_row(name, found))
    return rows


def _row(name: str, found: list[Outcome]) -> str:
    told = list(dict.fromkeys(text for each in found for text in each.told))
    lost = [each.lost for each in found]
    bad = [f"left behind: {', '.join(each.left)}" for each in found if each.left]
    bad += [f"{each.tracebacks} tracebacks" for each in found if each.tracebacks]
    cells = (
        name,
        f"{sum(each.held for each in found)} of {len(found)}",
        _times([each.others for each in found]),
        _times([each.victim for each in found]),
        f"{statistics.median(lost):.0f}, {max(lost)}",
        str(max((each.contributions for each in found), key=abs)),
        str(sum(each.doubled for each in found)),
        "; ".join([*told, *dict.fromkeys(bad)]).replace("|", "\\|") or "–",
    )
    return "| " + " | ".join(cells) + " |"


def _times(seconds: list[float | None]) -> str:
    known = [each for each in seconds if each is not None]
    if not known:
        return "never"
    return f"{statistics.median(known):.0f} s, {max(known):.0f} s"


def main() -> None:
    """Run the faults that the command line names, or all; or print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", action="append", choices=list(FAULTS), metavar="FAULT")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    wanted = parser.parse_args()
    outcomes = read(wanted.results)
    if not wanted.table:
        for name in wanted.only or FAULTS:
            if reason := cannot(FAULTS[name]):
                _say(f"{name}: {reason}")
                continue
            begin = Counter(each.fault for each in outcomes)[name]
            for number in range(begin, begin + wanted.runs):
                outcomes.append(asyncio.run(run(name, number)))
                with wanted.results.open("a") as stream:
                    stream.write(json.dumps(asdict(outcomes[-1])) + "\n")
                _say(json.dumps(asdict(outcomes[-1])))
    _say(*table(outcomes))


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
