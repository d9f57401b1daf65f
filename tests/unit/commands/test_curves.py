"""``curves`` on the command line, from the arguments to the file."""

from pathlib import Path

import pytest

from app import cli
from app.common.paths import Folders
from app.curves.storage import FILE_NAME, CurveFile, StoredRun
from app.headless.run import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folders = Folders.under(tmp_path / "data")
    folders.create()
    curves = CurveFile.open(folders.data / FILE_NAME)
    for number, name in enumerate(("docs", "other")):
        kept = StoredRun(run_id=name, title=f"{name}\x1b[2J", saved_at=number)
        curves.save(kept, {("loss", 1.0): [(1, 2.5, 1)]})
    curves.close()
    return folders.data


def curves(folder: Path, *arguments: str) -> int:
    return run(cli.parse(["curves", *arguments, "--data-dir", str(folder)]))


def test_runs_are_listed_the_newest_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curves(folder) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in listed] == ["other", "docs"]
    assert "\x1b" not in "".join(listed)


def test_curves_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "a.csv"
    assert curves(folder, "--run", "docs", "--to", str(target)) == 0
    assert target.read_text().splitlines()[1].startswith("loss,1970-01-01T00:00:01+00:00,1.0,2.5")
    assert "1 point of the run docs saved" in capsys.readouterr().err


def test_an_unknown_run_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curves(folder, "--run", "none", "--to", str(folder / "a.csv")) == 1
    assert "no curves of this run" in capsys.readouterr().err
