"""What is opened to a trainer, and what is never opened."""

import sys
from pathlib import Path

import pytest

from app.generation_messages import OpenModel
from app.spec import schema as specs
from app.trainer.confinement import places as module
from app.trainer.confinement.places import Places, places_for, places_to_read
from tests.support.processes.apps import tiny_spec
from tests.support.training.orders import ORDER


def places(folder: Path, data: dict[str, object]) -> Places:
    order = module.Start(
        **{name: getattr(ORDER, name) for name in ORDER.__struct_fields__}
        | {
            "checkpoint_dir": str(folder / "checkpoints"),
            "cache_dir": str(folder / "cache"),
            "identity_file": str(folder / "trainer.pem"),
            "roster_file": str(folder / "rosters" / "run.roster"),
        }
    )
    return places_for(order, specs.parse(tiny_spec(dataset_info=data)))


def test_only_regular_files_of_the_spec_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "tokenizer.json").write_text("{}")
    found = places(
        tmp_path,
        {
            "source": "files",
            "paths": [str(tmp_path / "a.txt"), str(tmp_path), "/dev/zero", "/none"],
            "tokenizer": {"kind": "file", "path": str(tmp_path / "tokenizer.json")},
        },
    )
    rosters = tmp_path / "rosters"  # the app replaces the file, so the trainer needs the folder
    assert found.inputs == (rosters, tmp_path / "a.txt", tmp_path / "tokenizer.json")


@pytest.mark.parametrize("entry", ["", "home", "above"])
def test_the_home_is_not_opened_because_python_looks_there(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    entry = {"home": str(home), "above": str(home.parent)}.get(entry, entry)
    monkeypatch.setattr(sys, "path", [*sys.path, entry])
    found = places(tmp_path, {"source": "builtin"})
    opened = (*found.programs, *found.inputs)
    assert not [path for path in opened if home.is_relative_to(path.absolute())]
    assert Path(sys.prefix) in found.programs


def test_what_writes_texts_reads_checkpoints_and_tokenizer_alone(tmp_path: Path) -> None:
    for name in ("a.txt", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "checkpoints").mkdir()
    spec = specs.parse(
        tiny_spec(
            dataset_info={
                "source": "files",
                "paths": [str(tmp_path / "a.txt")],
                "tokenizer": {"kind": "file", "path": str(tmp_path / "tokenizer.json")},
            }
        )
    )
    order = OpenModel(
        spec=spec.to_json(),
        checkpoint_dirs=(str(tmp_path / "checkpoints"), str(tmp_path / "none")),
        cache_dir=str(tmp_path / "cache"),
    )
    found = places_to_read(order, spec)
    assert found.inputs == (tmp_path / "checkpoints", tmp_path / "tokenizer.json")
    assert tmp_path / "checkpoints" not in found.outputs
    assert tmp_path / "cache" in found.outputs
