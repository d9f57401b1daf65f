"""Reporters in processes of their own, to be killed: forked from one that has imported everything.

It reads one JSON object a line, ``{"folder", "url", "node", "pace"}``, starts a reporter on that
data folder and writes ``{"pid"}``; when one has ended, ``{"ended", "status"}``, the status as of
`os.waitstatus_to_exitcode`. A reporter ends by itself when its outbox is empty. End of file ends
them all.
"""

import asyncio
import gc
import json
import logging
import os
import random
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[3]))

import app.backend.live  # noqa: F401
from app.backend.account import Account
from app.backend.budget import Budget
from app.backend.client import Backend
from app.backend.delivery import Delivery
from app.backend.http import Http
from app.backend.node import NodeData
from app.backend.pace import Clock, DeliveryPace
from app.backend.secret_store import SecretStore
from app.backend.ways import Ways
from app.contributions import recall
from app.contributions.ledger import Ledger, LedgerThread
from app.settings.settings import Settings
from app.state.facts import ReportingState
from app.state.state import ContributorState
from app.state.store import Store

log = logging.getLogger("reporter")


LOOKS_AGAIN = 10.0
"""Seconds. If the next look at what the backend knows is as near, the last one left a doubt."""

PATIENCE = 3.0
"""Seconds without an answer until the reporter hangs up. Much time passes so where the backend is
silent."""

GRANT = 0.5
"""Seconds that a clock may go on after the backend was asked; less than half of
`DeliveryPace.settle`."""


class QuietClock:
    """Stands still while the backend may yet count a report that it has got from this node.

    That a report counts within `DeliveryPace.settle` is what the reporter relies on. By the
    machine's clock a busy machine wouldn't keep to it: the backend may take a report up later.
    """

    def __init__(self) -> None:
        self._limit = 0.0
        self._ahead = time.monotonic()  # of the machine's clock

    def now(self) -> float:
        """In seconds."""
        now = time.monotonic() - self._ahead
        if now > self._limit:
            self._ahead += now - self._limit
            now = self._limit
        return now

    async def run(self, url: str, node: str) -> None:
        """Ask over a new connection each time: it is accepted after all that were made before."""
        address = urlsplit(url)
        while True:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(f"GET /quiet/{node} HTTP/1.0\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            if answer.endswith(b"true"):
                self._limit = self.now() + GRANT
            await asyncio.sleep(GRANT * 0.8)


class UnknownNode:
    """A machine of which nothing is known."""

    def data(self) -> NodeData:
        return NodeData()


async def report(folder: Path, url: str, node: str, pace: DeliveryPace) -> None:
    """Work until nothing waits, nothing is in doubt and the backend knows all."""
    clock = QuietClock()
    ticking = asyncio.create_task(clock.run(url, node))
    http = Http(url, timeout=PATIENCE, budget=Budget(requests=10_000))
    account = Account(http, store=SecretStore(folder / "account.json"))
    await account.restore()
    backend = Backend(http, account=account)
    ledger = LedgerThread(folder / "ledger.sqlite", backend=url)
    await ledger.open()
    reporter = Delivery(
        ledger,
        backend=backend,
        ways=Ways(http, backend=backend, node=UnknownNode(), http_again=0.2),
        store=Store(
            settings=Settings(refill="always"),
            state=ContributorState(reporting=ReportingState(backend_url=url, encrypted=True)),
        ),
        on_change=lambda state: log.info("%s", state),
        pace=pace,
        clock=Clock(steady=clock.now),
    )
    reporter.start()
    # the reporter knows no end
    while reporter._memory.wait < LOOKS_AGAIN or await ledger.run(has_work):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    ticking.cancel()
    await reporter.close()
    await http.close()
    await ledger.close()


def has_work(ledger: Ledger) -> bool:
    """Something waits, is in doubt or forgotten. All are looked at at once: one may become the
    other."""
    outbox = ledger.outbox
    waits = outbox.next_due() is not None or recall.forgotten_count(outbox) > 0
    return waits or bool(outbox.uncertain())


def child(order: dict[str, Any]) -> int:
    """Be a reporter; returns the exit status."""
    random.seed()  # else all would draw alike
    folder = Path(order["folder"])
    logging.basicConfig(filename=folder / "log", level=logging.INFO)
    log.info("began as %d", os.getpid())
    try:
        asyncio.run(report(folder, order["url"], order["node"], DeliveryPace(**order["pace"])))
    except BaseException:
        log.exception("the reporter failed")
        return 1
    return 0


def say(**content: int) -> None:
    """One line to whoever started us."""
    os.write(1, json.dumps(content).encode() + b"\n")


def start(line: bytes) -> None:
    """Fork a reporter."""
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os._exit(child(json.loads(line)))
    say(pid=pid)


def reap() -> None:
    """Tell of all that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        say(ended=pid, status=os.waitstatus_to_exitcode(status))


def main() -> None:
    """Start and reap until the end of the input."""
    gc.disable()  # its marks would copy every page of every fork
    gc.freeze()
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    rest = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            reap()
        if 0 in ready:
            content = os.read(0, 65536)
            if not content:
                return
            *lines, rest = (rest + content).split(b"\n")
            for line in lines:
                start(line)


if __name__ == "__main__":
    main()
