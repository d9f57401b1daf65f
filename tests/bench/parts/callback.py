"""The local API: how fast it answers, and what that does to window and training."""

import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from measuring import ROOT, longest_gap, records, row, stop, virtual_display, wait_for_record

CALLERS = 4
PERIOD_SECONDS = 20
PAIRS = 4


def api_of(folder: Path) -> str:
    """Where the app of this data folder serves its local API."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for record in records(folder):
            if "the local API is at " in record["message"]:
                return str(record["message"].rpartition(" ")[2])
        time.sleep(0.1)
    raise TimeoutError("the local API isn't served")


def computed(url: str) -> float:
    """Samples that the app's trainer has computed so far."""
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        found = re.search(rb"^cotrain_samples_total (\S+)", reply.read(), re.MULTILINE)
    assert found is not None
    return float(found[1])


STATUS = b"GET /api/v1/hivemind/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def call(url: str, until: float) -> list[float]:
    """Ask for the status on one connection, again and again; the seconds that each reply took.

    On a bare socket: a client library would take as much of the processor as the server does.
    """
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address) as connection:
        taken = []
        while (began := time.monotonic()) < until:
            connection.sendall(STATUS)
            reply = b""
            while not reply.endswith(b"}}"):
                reply += connection.recv(65536)
            assert reply.startswith(b"HTTP/1.1 200"), reply
            taken.append(time.monotonic() - began)
        return taken


@dataclass
class Period:
    """Some seconds of training. gap: of the window's loop, milliseconds; replies: seconds."""

    samples_per_second: float
    gap: float
    replies: list[float]


def period(folder: Path, url: str, *, callers: int) -> Period:
    """Watch for a while, with so many callers who never rest."""
    begin, samples = time.monotonic(), computed(url)
    until = begin + PERIOD_SECONDS
    with ThreadPoolExecutor(callers or 1) as pool:
        calling = [pool.submit(call, url, until) for _ in range(callers)]
        time.sleep(PERIOD_SECONDS)
        replies = [reply for each in calling for reply in each.result()]
    end = time.monotonic()
    rate = (computed(url) - samples) / (end - begin)
    time.sleep(1.1)  # the record of the last second
    return Period(rate, longest_gap(folder, begin + 1, end), replies)


def callback() -> None:
    """The status on loopback while the demo trains, and what that does to window and training."""
    with virtual_display() as environment, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ("--demo", "--train", "--debug", "--data-dir", name)
        app = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        wait_for_record(
            folder, "training", after=wait_for_record(folder, "hivemind is loaded")["monotonic"]
        )
        url = api_of(folder)
        time.sleep(10)  # the first epochs are slower
        pairs = [
            (period(folder, url, callers=0), period(folder, url, callers=CALLERS))
            for _ in range(PAIRS)
        ]
        stop(app)
    replies = sorted(reply for _, loaded in pairs for reply in loaded.replies)
    ratio = statistics.median(b.samples_per_second / a.samples_per_second for a, b in pairs)
    alone, called = (max(each.gap for each in column) for column in zip(*pairs, strict=True))
    rate = len(replies) / (PERIOD_SECONDS * PAIRS)
    row(
        f"status, {CALLERS} callers who never rest",
        f"{rate:.0f} requests/s",
        f"p50 {1000 * statistics.median(replies):.1f} ms,"
        f" p99 {1000 * replies[int(0.99 * len(replies))]:.1f} ms (held back beyond 100/s)",
    )
    row("longest gap of the window, called / not", f"{called:.0f} / {alone:.0f} ms", "≤ 50 ms")
    row("samples/s while called", f"{ratio:.3f} ×", "of without (≥ 0.95)")
