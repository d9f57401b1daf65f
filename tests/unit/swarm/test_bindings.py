"""What fills the slots of which run: remembered, the owner's alone, and never lost by a mistake."""

import json
import stat
from pathlib import Path

import pytest

from app.common.errors import SpecError
from app.spec import schema as spec
from app.spec.sources.data import FileData
from app.swarm import bindings
from app.swarm.bindings import Bindings
from tests.support.training.specs import SMALLEST

SPEC = spec.parse({**SMALLEST, "dataset_info": {"source": "slot", "label": "corpus"}})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("Some text.", encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "slots.json"


async def opened(file: Path) -> Bindings:
    made = Bindings(file)
    await made.open()
    return made


async def test_choice_is_remembered_by_run_and_label(file: Path, corpus: Path) -> None:
    made = await opened(file)
    made.choose("run", {"corpus": str(corpus)})
    filled = await made.filled(SPEC)
    assert isinstance(filled.data, FileData)
    assert filled.data.paths == (str(corpus),)
    again = await opened(file)
    assert again.of("run") == {"corpus": corpus}
    assert again.of("another") == {}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_command_line_fills_slots_of_any_run(file: Path, corpus: Path) -> None:
    made = await opened(file)
    made.choose("run", {"corpus": "/earlier"})
    made.give({"corpus": str(corpus)})
    made.check(SPEC)
    await made.filled(SPEC)
    assert (await opened(file)).of("run") == {"corpus": corpus}


async def test_slot_without_a_file_is_an_error_and_nothing_is_remembered(file: Path) -> None:
    made = await opened(file)
    with pytest.raises(SpecError):
        made.check(SPEC)
    with pytest.raises(SpecError):
        await made.filled(SPEC)
    assert not file.exists()


async def test_swarm_without_slots_needs_nothing(file: Path) -> None:
    found = spec.parse(SMALLEST)
    assert await (await opened(file)).filled(found) is found
    assert not file.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"run": 1}',
        b'{"run": {"corpus": 1}}',
        b'{"run": {"corpus": "/\\u0000"}}',
    ],
)
async def test_damaged_file_counts_as_empty(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert (await opened(file)).of("run") == {}


async def test_list_is_bounded(file: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "MOST_RUNS", 2)
    made = await opened(file)
    made.give({"corpus": str(corpus)})
    for run_id in ("a", "b", "a", "c"):
        await made.filled(SPEC.model_copy(update={"run_id": run_id}))
    assert list(json.loads(file.read_bytes())) == ["a", "c"]
