"""Which run is taken out, by what lies in the data folder."""

import os
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import ExportError
from app.common.paths import WATCHED, Folders
from app.export.kept_runs import KeptRuns
from app.spec import schema
from app.spec.sources.data import FileTokenizer
from app.swarm.bindings import Bindings
from app.takeout import run_file
from tests.support.training.specs import SMALLEST

ONE, OTHER = "1" * 12, "2" * 12


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders.under(tmp_path / "data")


def spec_of(**changes: Any) -> schema.SwarmSpec:
    return schema.parse(SMALLEST | changes)


def keep(
    folders: Folders,
    spec: schema.SwarmSpec,
    *,
    epoch: int = 1,
    run: str = ONE,
    role: str = "trainer",
    at: float = 1000.0,
    with_file: bool = True,
) -> Path:
    """A checkpoint's name, as a trainer gives it; its content is the trainer's matter."""
    folder = folders.checkpoints(spec.run_id) / role
    folder.mkdir(parents=True, exist_ok=True)
    if with_file:
        run_file.write(folder, run, spec)
    name = f"epoch-{epoch:09d}-{run}-{'0' * 32}.pt" if run else f"epoch-{epoch:09d}.pt"
    (folder / name).touch()
    os.utime(folder / name, (at, at))
    return folder


def kept(folders: Folders, *recents: schema.SwarmSpec, **files: str) -> KeptRuns:
    bindings = Bindings(folders.slots_file)
    bindings.give(files)
    return KeptRuns(folders, recents=recents, bindings=bindings)


def test_without_a_checkpoint_there_is_nothing(folders: Folders) -> None:
    with pytest.raises(ExportError, match="no checkpoint on this machine"):
        kept(folders).newest()
    with pytest.raises(ExportError, match="no checkpoint here"):
        kept(folders).of_swarm(spec_of())
    with pytest.raises(ExportError, match="no checkpoint here"):
        kept(folders).in_folder(Path("/nowhere"))


def test_the_newest_is_the_one_that_trained_last(folders: Folders) -> None:
    keep(folders, spec_of(run_id="old"), epoch=900, at=1000)
    keep(folders, spec_of(run_id="new"), epoch=3, at=2000)
    runs = kept(folders)
    assert [run.spec.run_id for run in runs.all()] == ["new", "old"]
    newest = runs.newest()
    assert (newest.spec.run_id, newest.epoch, newest.saved_at) == ("new", 3, 2000.0)
    assert newest.since is not None


def test_all_trainers_of_the_machine_count_as_one_run(folders: Folders) -> None:
    first = keep(folders, spec_of(), epoch=4)
    second = keep(folders, spec_of(), epoch=5, role="trainer-1")
    (run,) = kept(folders).all()
    assert (run.folders, run.epoch) == ((first, second), 5)


def test_a_swarm_is_found_by_its_invite(folders: Folders) -> None:
    keep(folders, spec_of(run_id="other"), at=9000)
    mine = keep(folders, spec_of())
    assert kept(folders).of_swarm(spec_of()).folders == (mine,)


def test_weights_that_were_only_fetched_are_not_our_own_work(folders: Folders) -> None:
    bindings = Bindings(folders.slots_file)
    kept = KeptRuns(folders, recents=(), bindings=bindings)
    spec = spec_of()
    assert not kept.has(spec)
    keep(folders, spec, epoch=7, role=WATCHED)
    assert kept.has(spec)
    assert (kept.of_swarm(spec).epoch, kept.of_swarm(spec).is_own) == (7, False)
    keep(folders, spec, epoch=3)
    assert kept.of_swarm(spec).is_own


def test_another_swarm_under_the_same_run_id_is_another(folders: Folders) -> None:
    wider = {"model_config": {"model_type": "gpt2", "n_embd": 96}}
    keep(folders, spec_of(**wider), run=ONE, epoch=7, at=9000)
    keep(folders, spec_of(), run=OTHER, epoch=2)
    runs = kept(folders)
    assert runs.of_swarm(spec_of()).epoch == 2
    assert runs.of_swarm(spec_of(**wider)).epoch == 7
    assert len(runs.all()) == 2


def test_a_folder_is_taken_by_its_path_from_here_or_from_the_data_folder(
    folders: Folders,
) -> None:
    place = keep(folders, spec_of())
    runs = kept(folders)
    for named in (place, place.parent, Path("checkpoints/run/trainer"), Path("checkpoints/run")):
        assert runs.in_folder(named).folders == (place,)


def test_a_copy_elsewhere_says_what_it_is(folders: Folders, tmp_path: Path) -> None:
    place = keep(folders, spec_of())
    copy = place.rename(tmp_path / "backup")
    assert kept(folders).in_folder(copy).spec == spec_of()


def test_checkpoints_of_before_are_known_by_the_swarms_that_were_joined(folders: Folders) -> None:
    place = keep(folders, spec_of(), run="", with_file=False)
    with pytest.raises(ExportError, match="nothing here says which run") as caught:
        kept(folders).in_folder(place)
    assert "--swarm" in caught.value.remedy
    assert kept(folders).in_folder(place, spec_of()).folders == (place,)
    assert kept(folders, spec_of()).newest().folders == (place,)
    assert kept(folders).of_swarm(spec_of()).folders == (place,)


def test_a_damaged_run_file_is_as_none(folders: Folders) -> None:
    place = keep(folders, spec_of())
    run_file.path_of(place, ONE).write_text("{")
    assert kept(folders).all() == []
    assert kept(folders, spec_of()).newest().since is None


def test_a_tokenizer_s_slot_is_filled_with_this_machine_s_file(folders: Folders) -> None:
    data = {"source": "builtin", "tokenizer": {"kind": "slot", "label": "words"}}
    spec = spec_of(dataset_info=data)
    keep(folders, spec, with_file=False)
    assert kept(folders, spec).newest().spec == spec
    filled = kept(folders, spec, words="/t.json").newest().spec.data.tokenizer
    assert filled == FileTokenizer(kind="file", path="/t.json")


def test_other_files_are_passed_over(folders: Folders) -> None:
    place = keep(folders, spec_of())
    for name in ("epoch-x.pt", "new.tmp", "epoch-000000009.damaged", "my epoch-1.pt"):
        (place / name).touch()
    (place / "epoch-000000008.pt").symlink_to(place / "nowhere")
    (run,) = kept(folders).all()
    assert run.epoch == 1


async def test_what_the_data_folder_knows_is_read(folders: Folders) -> None:
    keep(folders, spec_of())
    assert (await KeptRuns.of(folders)).newest().spec == spec_of()
