"""``export`` on the command line, with a small child in the place of the process that exports."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import cli, protocol
from app.common.paths import Folders
from app.export import exporter
from app.headless import exporting
from app.settings.settings import Settings
from app.spec import schema
from app.takeout import run_file
from app.takeout.marker import MARKER
from tests.support.training.specs import SMALLEST

RUN = "0" * 12
CHILD = f"""
import json, os, pathlib, sys

def say(kind, **fields):
    print(json.dumps({{"type": kind, **fields}}), flush=True)

say("Hello", version={protocol.VERSION}, pid=os.getpid())
order = json.loads(sys.stdin.readline())
folder = pathlib.Path(order["folder"])
pathlib.Path(sys.argv[1]).write_text(json.dumps(order))
if order["type"] == "Export":
    (folder / "config.json").write_text("{{}}")
    files = {{"config.json": 2}}
    marker = {{"format": "cotrain-export/1", "files": files}}
    (folder / "{MARKER}").write_text(json.dumps(marker))
    say("ExportProgress", step="writing", done=1, size=2)
    say("Exported", epoch=3, parameters=4, size=5, passed_over=["epoch-000000004.pt"])
elif order["repository"] == "ada/full":
    say("TrainerProblem", message="no room there.", remedy="Pay.")
else:
    say("Uploaded", url="https://hub.example/" + order["repository"], public=order["public"])
"""

Ran = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def order_file(tmp_path: Path) -> Path:
    return tmp_path / "order.json"


@pytest.fixture
def run(
    tmp_path: Path,
    order_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ran:
    """Runs the command; gives its status, the lines of stdout, and stderr."""
    file = tmp_path / "child.py"
    file.write_text(CHILD, encoding="utf-8")
    command = [sys.executable, "-S", str(file), str(order_file)]
    monkeypatch.setattr(exporter, "command_line", lambda *_rest: command)
    folders = Folders.under(tmp_path / "data")
    folders.create()

    def ran(*arguments: str, **settings: Any) -> tuple[int, list[str], str]:
        parsed = cli.parse(["export", "--to", str(tmp_path / "out"), *arguments]).command
        assert parsed is not None
        status = exporting.run(parsed, folders, Settings.model_construct(**settings))
        said = capsys.readouterr()
        return status, said.out.splitlines(), said.err

    return ran


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with a checkpoint."""
    spec = schema.parse(SMALLEST | {"title": "A swarm"})
    folder = tmp_path / "data" / "checkpoints" / spec.run_id / "trainer"
    folder.mkdir(parents=True)
    run_file.write(folder, RUN, spec)
    (folder / f"epoch-000000003-{RUN}-{'0' * 32}.pt").touch()
    return folder


def test_the_only_run_is_taken(run: Ran, kept: Path, tmp_path: Path, order_file: Path) -> None:
    status, said, beside = run(alias="Ada", publish_machine=True)
    assert status == exporting.DONE
    assert said == [f"Exported A swarm, epoch 3: {tmp_path / 'out'}"]
    assert "epoch-000000004.pt is damaged" in beside
    order = json.loads(order_file.read_text())
    assert order["checkpoint_dirs"] == [str(kept)]
    assert order["facts"]["contributors"] == ["Ada"]
    assert (tmp_path / "out" / "config.json").exists()


def test_who_does_not_show_his_machine_is_not_named(run: Ran, kept: Path, order_file: Path) -> None:
    run(alias="Ada", publish_machine=False)
    assert json.loads(order_file.read_text())["facts"]["contributors"] == []


def test_lines_of_json(run: Ran, kept: Path, tmp_path: Path) -> None:
    status, lines, _beside = run("--json", "--upload", "ada/tiny")
    progress, exported, uploaded = map(json.loads, lines)
    assert status == exporting.DONE
    assert progress == {"step": "writing", "done": 1, "size": 2}
    assert exported == {
        "folder": str(tmp_path / "out"),
        "run_id": "run",
        "epoch": 3,
        "parameters": 4,
        "bytes": 5,
        "exact_tokenizer": True,
        "damaged": ["epoch-000000004.pt"],
        "set_aside": None,
    }
    assert uploaded == {"url": "https://hub.example/ada/tiny", "public": False}


def test_an_upload_that_fails_leaves_the_folder_and_can_be_repeated_alone(
    run: Ran, kept: Path, tmp_path: Path
) -> None:
    status, lines, beside = run("--upload", "ada/full", "--json")
    assert status == exporting.NOT_UPLOADED
    assert json.loads(lines[-1]) == {
        "error": {"message": "no room there.", "field": "", "remedy": "Pay."}
    }
    assert "--upload-only" in beside
    assert (tmp_path / "out" / MARKER).exists()
    status, lines, _beside = run("--upload", "ada/tiny", "--upload-only", "--public")
    assert (status, lines) == (
        exporting.DONE,
        ["Uploaded, and visible to everybody: https://hub.example/ada/tiny"],
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), exporting.FAILED, "no checkpoint on this machine"),
        (("--checkpoint", "/nowhere"), exporting.FAILED, "no checkpoint here"),
        (("--swarm", "/nowhere.cotrain"), exporting.FAILED, "/nowhere.cotrain"),
        (("--upload-only",), exporting.USAGE, "--upload-only needs --upload"),
        (("--upload-only", "--upload", "a/b"), exporting.FAILED, "Export the model first"),
    ],
)
def test_a_mistake_is_said(run: Ran, arguments: tuple[str, ...], status: int, said: str) -> None:
    ended, lines, beside = run(*arguments)
    assert (ended, lines) == (status, [])
    assert said in beside


def test_what_lies_there_is_left_alone(run: Ran, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    status, _lines, beside = run()
    assert (status, [*(tmp_path / "out").iterdir()]) == (
        exporting.FAILED,
        [tmp_path / "out" / "diary.txt"],
    )
    assert "--overwrite" in beside
    status, _lines, beside = run("--overwrite")
    assert status == exporting.DONE
    assert "What lay there is now" in beside


def test_a_run_is_chosen_by_its_invite_or_folder(
    run: Ran, kept: Path, tmp_path: Path, order_file: Path
) -> None:
    invite = tmp_path / "run.cotrain"
    invite.write_text(json.dumps(SMALLEST | {"title": "A swarm", "version": 1}))
    for arguments in (("--swarm", str(invite)), ("--checkpoint", str(kept))):
        assert run(*arguments)[0] == exporting.DONE
        assert json.loads(order_file.read_text())["checkpoint_dirs"] == [str(kept)]
