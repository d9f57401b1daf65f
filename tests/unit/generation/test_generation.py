"""What can be written with on this machine. The process itself: tests/e2e/test_generation.py."""

from pathlib import Path

import pytest

from app.common.errors import GenerationError
from app.common.paths import Folders
from app.generation.generation import Generation
from app.generation.process import WantedText
from app.settings.settings import Settings
from app.spec import schema as specs
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.bindings import Bindings
from tests.support.training.specs import SMALLEST


@pytest.fixture
def generation(tmp_path: Path) -> Generation:
    folders = Folders.under(tmp_path)
    store = Store(settings=Settings(), state=ContributorState())
    return Generation(store, folders=folders, bindings=Bindings(folders.slots_file))


def keep(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def test_the_newest_weights_of_all_trainers_count(generation: Generation, tmp_path: Path) -> None:
    run = tmp_path / "checkpoints" / "run"
    keep(run / "trainer", "epoch-000000009-a-b.pt", "epoch-000000010-a-b.pt")
    keep(run / "trainer-1", "before-epoch-000000012-a-b.pt", "epoch-000000011.damaged")
    keep(run / "partner", "epoch-000000099-a-b.pt")
    keep(run / "watched", "epoch-000000004-a-b.pt")
    keep(tmp_path / "checkpoints" / "seen" / "watched", "epoch-000000004-a-b.pt")
    keep(tmp_path / "checkpoints" / "other" / "trainer", "epoch-000000050-a-b.pt")
    assert generation.kept_epoch("run") == 12
    assert generation.refusal("run") is None
    assert generation.kept_epoch("seen") == 4


def test_without_weights_it_says_what_to_do(generation: Generation, tmp_path: Path) -> None:
    keep(tmp_path / "checkpoints" / "run" / "trainer", "new.tmp", "epoch-.pt")
    refusal = generation.refusal("run")
    assert refusal is not None
    assert "train here" in refusal.remedy


async def test_without_weights_no_process_is_started(generation: Generation) -> None:
    with pytest.raises(GenerationError, match="no weights"):
        await anext(generation.write(specs.parse(SMALLEST), WantedText()))
    await generation.stop()
    await generation.close()
    await generation.close()
