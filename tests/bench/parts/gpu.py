"""A step on a GPU: ours against a model written by hand, and transformers compiled and eager.

Needs nothing but a CUDA build of PyTorch ≥ 2.11, transformers ≥ 5.17 and numpy. Each contender runs
in a process of its own, `gpu_contender.py`, which says what is measured; all of them end within
`MOST_SECONDS`, and what one of them compiles no other one finds.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]

MODELS = {"gpt2": "GPT-2", "llama": "Llama"}
SIZES = {"gpt2": "124M", "llama": "374M"}
"""Parameters."""

CONTENDERS = {
    "nano": "(a) by hand, compiled",
    "ours": "ours",
    "compiled": "(b) transformers, compiled",
    "eager": "(c) transformers, eager",
}

MOST_SECONDS = 465.0
"""For all of them together."""

STEP_SECONDS = 20.0
"""Of steps that are timed, where there is time; else a quarter of it at least."""

PATIENCE = 3.0
"""A contender is ended after so many times its part of the time that is left…"""

LEAST_SECONDS = 25.0
"""…or when those after it would have less than this each."""

MOST_SAID = 4000
"""Characters of what a contender writes to stderr that the results keep, the last ones."""

PEAKS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H200 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
}
"""Dense bf16 operations a second by NVIDIA's data sheets, by a part of the card's name; the first
that fits."""

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")

WIDTHS = (12, 27, 11, 11, 9, 9, 10, 7)
HEAD = ("model", "contender", "micro-batch", "tokens/s", "of peak", "GiB", "warm-up", "to (a)")


@dataclass(kw_only=True)
class Table:
    """Printed a row at a time."""

    sizes: dict[str, str]
    """Of the models."""

    results: Path | None
    """A file that gets a line of JSON a row."""

    by_hand: dict[str, float] = field(default_factory=dict)
    """Tokens a second of (a), by model."""

    def begin(self) -> None:
        """The head."""
        self._print(HEAD)
        self._print(["-" * width for width in WIDTHS])

    def add(self, model: str, contender: str, found: dict[str, Any]) -> None:
        """A row."""
        if self.results is not None:
            with self.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"model": model, "contender": contender} | found) + "\n")
        names = (f"{MODELS[model]} {self.sizes[model]}", CONTENDERS[contender])
        if "failure" in found:
            self._print((*names, *["–"] * 6), note=found["failure"])
            return
        rate = found["tokens_a_second"]
        if contender == "nano":
            self.by_hand[model] = rate
        share = share_of_peak(found["card"], rate * found["operations_a_token"])
        figures = (
            str(found["micro_batch"]),
            f"{rate:,.0f}",
            "–" if share is None else f"{share:.1%}",
            f"{found['memory'] / 2**30:.1f}",
            f"{found['warm_up_seconds']:.0f} s",
            f"{rate / self.by_hand[model]:.2f} ×" if model in self.by_hand else "–",
        )
        uncompiled = contender == "ours" and not found["compiled"]
        self._print((*names, *figures), note="not compiled" if uncompiled else "")

    def _print(self, cells: Sequence[str], *, note: str = "") -> None:
        texts = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
        ]
        print(f"| {' | '.join(texts)} | {note}".rstrip(), flush=True)


def share_of_peak(card: str, operations: float) -> float | None:
    """Of what a card can do, None for an unknown one. operations: a second."""
    peak = next((peak for name, peak in PEAKS.items() if name in card), None)
    return None if peak is None else operations / peak


def run(command: list[str], *, seconds: float) -> dict[str, Any]:
    """What a contender prints; ended after so many seconds, with all that it started."""
    if seconds <= 0:
        return {"failure": "no time was left"}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        output, errors = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
        process = subprocess.Popen(
            command,
            env=os.environ | dict.fromkeys(CACHES, folder) | {"HF_HUB_OFFLINE": "1"},
            stdout=output,  # no pipe: compilers' helpers may hold it open
            stderr=errors,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            found = {"failure": f"took longer than {seconds:.0f} s"}
        else:
            output.seek(0)
            found = result_of(output.read(), code=code)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        said = errors.read()[-MOST_SAID:]
    return found | ({"said": said} if said else {})


def result_of(output: str, *, code: int) -> dict[str, Any]:
    """The last line, where it is one of ours."""
    try:
        found = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        found = None
    return found if isinstance(found, dict) else {"failure": f"ended with the code {code}"}


def gpu(arguments: Sequence[str] = ()) -> None:
    """All contenders, one after the other."""
    parser = argparse.ArgumentParser(prog="run.py gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="torch's name; cpu to try the benchmark")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the benchmark")
    parser.add_argument("--model", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--contender", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seconds", type=float, default=STEP_SECONDS, help="of steps, for each")
    parser.add_argument("--within", type=float, default=MOST_SECONDS, help="seconds, for all")
    parser.add_argument("--results", type=Path, help="a file for lines of JSON")
    wanted = parser.parse_args(arguments)
    pairs = [(model, each) for model in wanted.model for each in wanted.contender]
    until = time.monotonic() + wanted.within
    sizes = dict.fromkeys(MODELS, "tiny") if wanted.tiny else SIZES
    table = Table(sizes=sizes, results=wanted.results)
    table.begin()
    for place, (model, contender) in enumerate(pairs):
        left, others = until - time.monotonic(), len(pairs) - place - 1
        part = left / (1 + others)
        options = ["--device", wanted.device, *(["--tiny"] if wanted.tiny else [])]
        times = ["--seconds", f"{wanted.seconds}", "--until", f"{time.monotonic() + part:.1f}"]
        script = [sys.executable, str(HERE / "gpu_contender.py"), model, contender]
        seconds = min(PATIENCE * part, left - LEAST_SECONDS * others)
        table.add(model, contender, run([*script, *options, *times], seconds=seconds))
