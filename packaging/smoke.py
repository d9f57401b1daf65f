"""`make smoke`: the packaged app on a machine that has nothing else.

An overlay of this system without the sources and without Python, an empty home, an empty
environment, a network of loopback alone. The window must be painted, the demo swarm must learn for
two epochs, the local API must answer, each type of model must train, and nothing may be left: no
process, no file outside the app's own folders. Then the same with the .deb, installed and purged,
and with the AppImage.

    packaging/smoke.py [--only NAME]...     models, window, start, deb, appimage
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sandbox
from sandbox import HOME, Sandbox

from app.spec.architectures import fields_for
from app.spec.families import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
NAME = "cotrain-contributor"
BUILT = ROOT / "dist" / NAME
PLACE = Path("/opt") / NAME
DISPLAY = 7
API = "http://127.0.0.1:8000"
LOG = HOME / ".local/state" / NAME / "log" / "contributor.log"
OWN_FOLDERS = tuple(HOME / folder / NAME for folder in (".local/share", ".local/state", ".cache"))
SYSTEMS = (HOME / ".cache/fontconfig",)
"""Caches that the system's libraries keep in a home, whoever uses them."""

TEMPORARY = (".X", "screen", "pymp-")
"""The display's, and what Python's multiprocessing leaves where a trainer has to be abandoned."""

GONE_SECONDS = 10.0
"""After an end, nothing may run for longer."""

CHECKS = ("window", "models", "start", "deb", "appimage")

STARTS = 5
SLOWER = 1.5
"""A packaged window may take so many times what it takes from source."""

Found = TypeVar("Found")


class FailedError(Exception):
    """A check failed."""


def check(what: str, holds: object, detail: object = "") -> None:
    """Say that something is as it should be, or give up."""
    if not holds:
        raise FailedError(f"{what}: {detail}")
    print(f"ok    {what}" + (f": {detail}" if detail else ""), flush=True)


def wait_for(
    what: str,
    look: Callable[[], Found | None],
    *,
    app: "subprocess.Popen[bytes] | None" = None,
    seconds: float = 180,
) -> Found:
    """Look again and again until there is something, or the app that would do it is gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        if app is not None and app.poll() is not None:
            raise FailedError(f"{what}: the app ended with status {app.returncode}")
        time.sleep(0.2)
    raise FailedError(f"{what}: not within {seconds:.0f} s")


# --- what the app says


def records(log: Path) -> list[dict[str, Any]]:
    """The lines of the app's log so far."""
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


def record(log: Path, message: str) -> dict[str, Any] | None:
    """The first line with a message."""
    return next((each for each in records(log) if each["message"] == message), None)


class Progress(NamedTuple):
    """How far training is."""

    epoch: float
    loss: float


def get(path: str) -> str | None:
    """An answer of the local API, None while it doesn't answer."""
    try:
        with urllib.request.urlopen(API + path, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return None


def progress() -> Progress | None:
    """Read from the figures for Prometheus."""
    text = get("/metrics") or ""
    found = dict(re.findall(r"^cotrain_(epoch|loss) (\S+)$", text, re.MULTILINE))
    return (
        Progress(**{name: float(value) for name, value in found.items()})
        if len(found) == 2
        else None
    )


# --- a display


@contextmanager
def display(box: Sandbox) -> Iterator[Path]:
    """A virtual display; yields the file that holds its picture."""
    (box.root / "tmp/screen").mkdir(mode=0o777)
    screen = ["-screen", "0", "1280x800x24", "-fbdir", "/tmp/screen", "-nolisten", "tcp"]
    command = ["chroot", str(box.root), "Xvfb", f":{DISPLAY}", *screen]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    picture = box.root / "tmp/screen/Xvfb_screen0"
    socket = box.root / f"tmp/.X11-unix/X{DISPLAY}"
    try:
        wait_for("a display", lambda: socket if socket.exists() and picture.exists() else None)
        yield picture
    finally:
        server.terminate()
        server.wait()


def save_picture(source: Path, target: Path) -> None:
    """The display's picture, which lies there in X's own format (XWD), as a PNG."""
    from PySide6.QtGui import QImage

    content = source.read_bytes()
    header = struct.unpack(">25I", content[:100])
    size, width, height, stride, colours = (header[place] for place in (0, 4, 5, 12, 19))
    pixels = content[size + 12 * colours :]
    target.parent.mkdir(parents=True, exist_ok=True)
    QImage(pixels, width, height, stride, QImage.Format.Format_RGB32).save(str(target))


# --- the checks


def window(box: Sandbox, program: str, *, picture: str) -> None:
    """The demo in a window, to the end that a user gives it."""
    before = sandbox.processes()
    with display(box) as screen:
        log = box.root / str(LOG)[1:]
        started = time.monotonic()
        app = box.start(program, "--demo", "--train", "--theme", "dark", DISPLAY=f":{DISPLAY}")
        painted = wait_for("window painted", lambda: record(log, "window painted"), app=app)
        check("window painted", True, f"after {painted['monotonic'] - started:.2f} s")
        first = wait_for("a first loss", progress, app=app)
        last = wait_for(
            "two epochs", lambda: now if (now := progress()) and now.epoch >= 2 else None
        )
        check("two epochs, loss falling", last.loss < first.loss, f"{first.loss} → {last.loss}")
        health = json.loads(get("/health") or "{}")
        check("callback answers", health.get("service") == "hivemind", health)
        save_picture(screen, ROOT / "dist" / picture)
        app.send_signal(signal.SIGTERM)
        check("clean exit", app.wait(timeout=60) == 0, f"status {app.returncode}")
    check_gone(before)
    errors = [each["message"] for each in records(log) if each["level"] in ("error", "critical")]
    check("no error in the log", not errors, errors)


def check_gone(before: dict[int, str]) -> None:
    """No process is left; torch's helper that frees shared memory ends two seconds after them."""

    def left() -> list[str]:
        return [name for each, name in sandbox.processes().items() if each not in before]

    with suppress(FailedError):
        wait_for("the end of all processes", lambda: None if left() else True, seconds=GONE_SECONDS)
    check("no orphan", not left(), left())


def clean(box: Sandbox, *, but: tuple[Path, ...] = ()) -> None:
    """Nothing lies where it doesn't belong."""
    allowed = (*OWN_FOLDERS, *SYSTEMS, *but)
    strange = [path for path in box.written() if not any(map(path.is_relative_to, allowed))]
    check("nothing written outside its own folders", not strange, strange)
    left = [path.name for path in box.left_behind() if not path.name.startswith(TEMPORARY)]
    check("no temporary file left", not left, left)


def models(box: Sandbox, program: str) -> None:
    """An epoch with each type of model that a spec may ask for, and each kind of data."""
    folder = box.root / str(HOME)[1:] / "specs"
    folder.mkdir()
    write_data(folder)
    before = sandbox.processes()
    for number, model in enumerate(FAMILIES):
        spec = HOME / "specs" / f"{model}.cotrain"
        rows = ROWS[number % len(ROWS)]
        (folder / spec.name).write_text(json.dumps(tiny(model, from_files=bool(rows))))
        files = {"rows": rows, "tokenizer": "tokenizer.json"} if rows else {}
        chosen = [f"--data={label}={HOME / 'specs' / name}" for label, name in files.items()]
        place = str(HOME / "runs" / model)
        app = box.start(program, "--headless", "--swarm", str(spec), "--data-dir", place, *chosen)
        status = app.wait(timeout=180)
        check(f"an epoch with {model}", status == 0, f"status {status}")
    check_gone(before)


ROWS = ("", "rows.parquet", "rows.jsonl")
"""The built-in text, and files in the slots of a spec."""


def tiny(model: str, *, from_files: bool) -> dict[str, Any]:
    """The spec of a run of one epoch. Files come with a tokenizer of their own."""
    fields = fields_for(model, layers=1, width=32, heads=2, feed_forward=64, positions=64)
    data: dict[str, Any] = {"source": "builtin"}
    if from_files:
        tokenizer = {"kind": "slot", "label": "tokenizer"}
        data = {"source": "slot", "label": "rows", "tokenizer": tokenizer}
    return {
        "run_id": f"smoke-{model}",
        "local": True,
        "model_config": {"model_type": model, **fields},
        "training_params": {
            "target_batch_size": 16,
            "micro_batch_size": 8,
            "sequence_length": 32,
            "averaging": {"matchmaking_seconds": 1.0, "timeout_seconds": 5.0},
            "stop": {"epochs": 1},
        },
        "dataset_info": data,
    }


def write_data(folder: Path) -> None:
    """Small files of each format, and a tokenizer."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    rows = [{"text": f"row {number} of a small file, and then some words"} for number in range(400)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"])
    tokenizer.train_from_iterator((row["text"] for row in rows), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def start(box: Sandbox, program: str) -> None:
    """How soon the window is painted, in turn packaged and from source."""
    with display(box):
        pairs = [
            (packaged_start(box, program, number), source_start(number))
            for number in range(STARTS + 1)
        ][1:]  # the first of each warms the disk
    packaged, source = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    figures = f"{packaged:.2f} s packaged, {source:.2f} s from source, {ratio:.2f} ×"
    check(f"window painted within {SLOWER} × of source", ratio <= SLOWER, figures)


def packaged_start(box: Sandbox, program: str, number: int) -> float:
    """Seconds from the start of the program."""
    data, begun = HOME / f"start-{number}", time.monotonic()
    app = box.start(program, "--data-dir", str(data), DISPLAY=f":{DISPLAY}")
    return painted_after(begun, app, log=box.root / str(data)[1:] / "logs/contributor.log")


def source_start(number: int) -> float:
    """Seconds from the start of the interpreter."""
    with tempfile.TemporaryDirectory() as name:
        begun = time.monotonic()
        app = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "--data-dir", name],
            env=os.environ | {"DISPLAY": f":{DISPLAY}", "QT_QPA_PLATFORM": "xcb"},
            stderr=subprocess.DEVNULL,
        )
        return painted_after(begun, app, log=Path(name) / "logs/contributor.log")


def painted_after(begun: float, app: "subprocess.Popen[bytes]", *, log: Path) -> float:
    """Let the app finish loading, so that the next start has the machine for itself."""
    painted = wait_for("window painted", lambda: record(log, "window painted"), app=app)
    wait_for("hivemind is loaded", lambda: record(log, "hivemind is loaded"), app=app)
    app.terminate()
    app.wait(timeout=60)
    return float(painted["monotonic"]) - begun


def deb(box: Sandbox, package: Path) -> None:
    """Install it, use it, purge it."""
    (box.root / "package.deb").write_bytes(package.read_bytes())
    box.run("dpkg", "--install", "/package.deb")
    check(".deb installs", True, package.name)
    found = box.run("dpkg", "--listfiles", NAME).stdout.splitlines()
    mime = box.root / "usr/share/mime/application/x-cotrain.xml"
    check("*.cotrain has its type", mime.exists() or not have_mime(box), mime.name)
    window(box, NAME, picture="smoke-deb.png")
    box.run("dpkg", "--purge", NAME)
    left = [path for path in found if NAME in path and (box.root / path[1:]).exists()]
    check("purged without a rest", not left and not mime.exists(), left)


def appimage(box: Sandbox, image: Path) -> None:
    """Start it as it is, and unpack it."""
    program = box.root / "package.AppImage"
    shutil.copy(image, program)
    program.chmod(0o755)
    box.allow_fuse()
    window(box, "/package.AppImage", picture="smoke-appimage.png")
    clean(box, but=(Path("/package.AppImage"),))
    box.run("sh", "-c", "cd /var/tmp && /package.AppImage --appimage-extract")
    unpacked = box.root / "var/tmp/squashfs-root"
    files = sum(path.is_file() for path in (unpacked / "usr/lib" / NAME).rglob("*"))
    check("unpacks without FUSE", (unpacked / "AppRun").exists() and files, f"{files} files")


def have_mime(box: Sandbox) -> bool:
    """Whether this system keeps a database of types at all."""
    return (box.root / "usr/bin/update-mime-database").exists()


# --- in order


def main() -> None:
    """Run the checks that the command line names, or all; the status says how it went."""
    parser = argparse.ArgumentParser(description="Try the packaged app on an empty machine.")
    parser.add_argument("--only", action="append", choices=CHECKS)
    wanted = parser.parse_args().only or CHECKS
    sandbox.enter()
    try:
        for each in wanted:
            run(each)
    except FailedError as error:
        sys.exit(f"FAILED  {error}")


def run(name: str) -> None:
    """One check in a sandbox of its own."""
    hidden = [ROOT, Path.home(), Path(sys.prefix), Path(sys.base_prefix)]
    with tempfile.TemporaryDirectory() as base, sandbox.opened(Path(base), hidden=hidden) as box:
        try:
            program = str(PLACE / NAME)
            if name not in {"deb", "appimage"}:
                install_folder(box)
            match name:
                case "window":
                    window(box, program, picture="smoke.png")
                    clean(box)
                case "models":
                    models(box, program)
                    clean(box, but=(HOME / "specs", HOME / "runs"))
                case "start":
                    start(box, program)
                case "deb":
                    deb(box, newest(".deb"))
                case "appimage":
                    appimage(box, newest(".AppImage"))
        except FailedError:
            print(box.output()[-4000:], file=sys.stderr)
            raise


def install_folder(box: Sandbox) -> None:
    """Show the folder as somebody who unpacked the archive would have it."""
    place = box.root / str(PLACE)[1:]
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", "-o", "ro", str(BUILT), str(place)], check=True)


def newest(kind: str) -> Path:
    """The file of a kind that was built last."""
    found = sorted((ROOT / "dist").glob(f"*{kind}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FailedError(f"no {kind} in dist/: run make package")
    return found[-1]


if __name__ == "__main__":
    main()
