"""A text on the command line, from the arguments to the process that would write it."""

import json
from pathlib import Path

import pytest

from app import cli
from app.common.paths import Folders
from app.headless import generating
from app.settings.settings import Settings
from tests.support.training.specs import SMALLEST


def run(folder: Path, *arguments: str) -> int:
    parsed = cli.parse(("generate", *arguments))
    assert parsed.command is not None
    assert parsed.headless
    folders = Folders.under(folder)
    folders.create()
    return generating.run(parsed.command, folders, Settings(), data=parsed.data)


def test_without_weights_it_says_where_they_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invite = tmp_path / "run.cotrain"
    invite.write_text(json.dumps(SMALLEST))
    assert run(tmp_path / "data", "--swarm", str(invite), "--prompt", "Once") == 1
    said = capsys.readouterr()
    assert "names nobody from whom the weights can be fetched" in said.err
    assert said.out == ""


def test_an_invite_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "data", "--swarm", str(tmp_path / "none.cotrain")) == 1
    assert "none.cotrain" in capsys.readouterr().err
