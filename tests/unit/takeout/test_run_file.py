"""The file beside the checkpoints: what a run is, for who has its tensors alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.evaluation_messages import Evaluated
from app.spec import filling, schema, signing
from app.spec.sources.data import FileData, FileTokenizer
from app.takeout import run_file
from tests.support.organiser.organisers import organiser
from tests.support.training.specs import PEER, SMALLEST

RUN = "0123456789ab"


def spec_of(**changes: Any) -> schema.SwarmSpec:
    return schema.parse(SMALLEST | changes)


def written(folder: Path, spec: schema.SwarmSpec) -> run_file.RunFile:
    run_file.write(folder, RUN, spec)
    known = run_file.read(run_file.path_of(folder, RUN))
    assert known is not None
    return known


def test_what_is_written_is_read(tmp_path: Path) -> None:
    spec = spec_of(initial_peers=[PEER], title="Ünïcödé")
    assert written(tmp_path, spec).spec == spec


def test_of_thousands_of_paths_one_is_kept(tmp_path: Path) -> None:
    tokenizer = {"kind": "file", "path": "/home/ada/tokenizer.json"}
    data = {"source": "files", "paths": [f"/home/ada/{n}" for n in range(9000)]}
    known = written(tmp_path, spec_of(dataset_info=data | {"tokenizer": tokenizer}))
    assert isinstance(known.spec.data, FileData)
    assert known.spec.data.paths == ("/home/ada/0",)
    assert known.spec.data.tokenizer == FileTokenizer.model_validate(tokenizer)


def test_of_each_part_of_a_mixture_one_path_is_kept(tmp_path: Path) -> None:
    parts = [
        {"weight": 1, "data": {"source": "files", "paths": [f"/home/{who}/{n}" for n in range(9)]}}
        for who in ("ada", "bob")
    ]
    known = written(tmp_path, spec_of(dataset_info={"source": "mixture", "parts": parts}))
    assert filling.paths(known.spec) == {
        "dataset_info.parts.0.data.paths": ("/home/ada/0",),
        "dataset_info.parts.1.data.paths": ("/home/bob/0",),
    }


def test_a_signed_swarm_with_a_filled_slot_is_read(tmp_path: Path) -> None:
    data = {"source": "slot", "label": "texts"}
    signed = signing.signed(spec_of(dataset_info=data), organiser(), name="Ada", closed=False)
    filled = FileData(source="files", paths=("/home/ada/a.txt",))
    spec = signed.model_copy(update={"data": filled})
    assert written(tmp_path, spec).spec == spec


def test_a_changed_spec_takes_the_place_of_the_old_but_the_run_began_when_it_did(
    tmp_path: Path,
) -> None:
    before = written(tmp_path, spec_of())
    file = run_file.path_of(tmp_path, RUN)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"since": 1000.0}))
    after = written(tmp_path, spec_of(title="new"))
    assert (before.spec.title, after.spec.title, after.since) == ("", "new", 1000.0)


def test_it_is_written_once(tmp_path: Path) -> None:
    written(tmp_path, spec_of())
    before = run_file.path_of(tmp_path, RUN).stat().st_ino
    written(tmp_path, spec_of())
    assert run_file.path_of(tmp_path, RUN).stat().st_ino == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"{" * 5000,
        b'{"since": 1, "spec": {}}',
        json.dumps({"since": "now", "spec": SMALLEST}).encode(),
        json.dumps({"since": -1, "spec": SMALLEST}).encode(),
        json.dumps({"since": 1, "spec": SMALLEST, "rest": "x" * run_file.MAX_BYTES}).encode(),
    ],
)
def test_a_damaged_file_is_none(tmp_path: Path, content: bytes) -> None:
    file = run_file.path_of(tmp_path, RUN)
    file.write_bytes(content)
    assert run_file.read(file) is None
    assert written(tmp_path, spec_of()).spec == spec_of()


EVALUATION = Evaluated(epoch=7, loss=2.0, bits_per_byte=2.9, tokens=64, seconds=0.5, time=1e9)


def test_an_evaluation_stays_until_the_next_one(tmp_path: Path) -> None:
    assert written(tmp_path, spec_of()).evaluation is None
    run_file.write(tmp_path, RUN, spec_of(), EVALUATION)
    assert written(tmp_path, spec_of(title="Another")).evaluation == EVALUATION


@pytest.mark.parametrize("damaged", [None, [], {"epoch": "7"}, {"epoch": 7, "extra": 1}])
def test_of_a_damaged_evaluation_the_rest_is_read(tmp_path: Path, damaged: Any) -> None:
    run_file.write(tmp_path, RUN, spec_of(), EVALUATION)
    path = run_file.path_of(tmp_path, RUN)
    content = json.loads(path.read_bytes()) | {"evaluation": damaged}
    path.write_text(json.dumps(content))
    known = run_file.read(path)
    assert known is not None
    assert (known.spec, known.evaluation) == (spec_of(), None)
