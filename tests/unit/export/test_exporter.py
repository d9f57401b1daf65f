"""The process that exports, seen from the app, with a small real child in its place."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app import protocol
from app.common.errors import ExportError
from app.export import exporter
from app.export.kept_runs import KeptRun
from app.export.target import ExportTarget
from app.spec import schema
from app.takeout.messages import Exported, ExportFacts, ExportProgress, ExportStep, Upload, Uploaded
from tests.support.training.specs import SMALLEST

PRELUDE = f"""
import json, os, pathlib, signal, sys

def say(kind, **fields):
    print(json.dumps({{"type": kind, **fields}}), flush=True)

say("Hello", version={protocol.VERSION}, pid=os.getpid())
order = json.loads(sys.stdin.readline())
"""
WRITES = """
say("ExportProgress", step="writing", done=1, size=2)
(pathlib.Path(order["folder"]) / "config.json").write_text("{}")
say("Exported", epoch=3, parameters=4, size=5)
"""
FAILS = """
(pathlib.Path(order["folder"]) / "config.json").write_text("{}")
say("TrainerProblem", message="the disk is full.", field="/disk", remedy="Make room.")
"""
HANGS = """
(pathlib.Path(order["folder"]) / "pid").write_text(str(os.getpid()))
say("ExportProgress", step="writing")
sys.stdin.read()
"""

Child = Callable[[str], None]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    """Says which program exports."""

    def is_this(program: str) -> None:
        file = tmp_path / "child.py"
        file.write_text(PRELUDE + program, encoding="utf-8")
        monkeypatch.setattr(
            exporter, "command_line", lambda *_rest: [sys.executable, "-S", str(file)]
        )

    return is_this


RUN = KeptRun(spec=schema.parse(SMALLEST), folders=(Path("/c"),), epoch=3, saved_at=1.0)


class Exporting:
    """An export to a folder, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.target = ExportTarget(folder, overwrite=False)
        self.progress: list[ExportProgress] = []
        self.told = asyncio.Event()

    def listen(self, progress: ExportProgress) -> None:
        self.progress.append(progress)
        self.told.set()

    async def run(self, run: KeptRun = RUN) -> tuple[Exported, Path | None]:
        facts = ExportFacts()
        return await exporter.export(
            run, self.target, cache=Path("/d"), facts=facts, on_progress=self.listen
        )


@pytest.fixture
def exporting(tmp_path: Path) -> Exporting:
    return Exporting(tmp_path / "exported" / "model")


async def test_the_folder_is_there_when_all_went_well(exporting: Exporting, child: Child) -> None:
    child(WRITES)
    assert await exporting.run() == (Exported(epoch=3, parameters=4, size=5), None)
    assert exporting.progress == [ExportProgress(step=ExportStep.WRITING, done=1, size=2)]
    assert (exporting.target.folder / "config.json").exists()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (FAILS, "/disk: the disk is full. Make room."),
        ("sys.exit(7)", "exit status 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "memory ran out"),
        (f'say("Hello", version={protocol.VERSION + 1}, pid=1)', "updated while it ran"),
    ],
)
async def test_a_failure_is_said_and_nothing_is_left(
    exporting: Exporting, child: Child, program: str, said: str
) -> None:
    child(program)
    with pytest.raises(ExportError) as caught:
        await exporting.run()
    assert said in caught.value.text
    assert [*exporting.target.folder.parent.iterdir()] == []


async def test_a_cancel_ends_the_process_and_leaves_nothing(
    exporting: Exporting, child: Child
) -> None:
    child(HANGS)
    running = asyncio.create_task(exporting.run())
    await exporting.told.wait()
    pid = int((exporting.target.part / "pid").read_text())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not psutil.pid_exists(pid)
    assert [*exporting.target.folder.parent.iterdir()] == []


async def test_a_tokenizer_that_is_not_known_is_asked_for(exporting: Exporting) -> None:
    data = {"source": "builtin", "tokenizer": {"kind": "slot", "label": "words"}}
    spec = schema.parse(SMALLEST | {"dataset_info": data})
    run = KeptRun(spec=spec, folders=(), epoch=1, saved_at=1.0)
    with pytest.raises(ExportError, match="--data words=PATH"):
        await exporting.run(run)


async def test_an_upload_gets_its_token_by_the_pipe_alone(child: Child, tmp_path: Path) -> None:
    child(
        """
seen = " ".join(sys.argv) + str(dict(os.environ))
say("Uploaded", url=order["token"] if "hf_secret" not in seen else "seen", public=False)
"""
    )
    order = Upload(
        folder=str(tmp_path), repository="ada/x", public=False, overwrite=False, token="hf_secret"
    )
    done = await exporter.upload(order, on_progress=lambda _progress: None)
    assert done == Uploaded(url="hf_secret", public=False)
