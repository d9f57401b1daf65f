"""Fetching weights on the command line."""

from pathlib import Path
from typing import Any

import filelock
import pytest

from app.common.errors import BusyError
from app.common.paths import Folders
from app.headless import fetching as module
from app.settings.settings import Settings
from app.spec import schema
from app.swarm.bindings import Bindings
from app.takeout.messages import ExportProgress, ExportStep, WeightsFetched
from tests.support.training.specs import SMALLEST


async def fetch(folder: Path) -> None:
    folders = Folders.under(folder)
    folders.create()
    bindings = Bindings(folders.slots_file)
    await module.fetch(
        schema.parse(SMALLEST), folders=folders, settings=Settings(), bindings=bindings
    )


async def test_it_says_how_far_it_is_and_whose_weights_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fetched(_spec: Any, *, on_progress: Any, **_rest: Any) -> WeightsFetched:
        on_progress(ExportProgress(step=ExportStep.LOADING))
        for done in range(0, 101, 2):
            on_progress(ExportProgress(step=ExportStep.FETCHING, done=done * 10**6, size=10**8))
        return WeightsFetched(epoch=3, from_door=True)

    monkeypatch.setattr(module, "fetch_weights", fetched)
    await fetch(tmp_path)
    said = capsys.readouterr().err.splitlines()
    assert len(said) < 25
    assert "100.0 of 100.0 MB, 100 %" in said[-2]
    assert "snapshot of epoch 3 from the door" in said[-1]


async def test_not_while_an_app_has_the_data_folder(tmp_path: Path) -> None:
    with filelock.FileLock(Folders.under(tmp_path).lock_file), pytest.raises(BusyError):
        await fetch(tmp_path)
