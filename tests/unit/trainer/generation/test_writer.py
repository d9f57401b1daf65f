"""The newest weights write, whoever wrote them last, and nothing of the trainer's is touched."""

from itertools import islice
from pathlib import Path

import pytest

from app.common.errors import GenerationError
from app.generation_messages import OpenModel
from app.spec.schema import SwarmSpec
from app.trainer.checkpoint import CheckpointFolder
from app.trainer.generation.writer import Writer
from tests.support.training.checkpoints import keep
from tests.support.training.models import spec_of

SPEC = spec_of()


def order(*folders: Path) -> OpenModel:
    return OpenModel(spec=SPEC.to_json(), checkpoint_dirs=tuple(map(str, folders)), cache_dir="")


def written(writer: Writer, prompt: str = "ab", *, count: int = 3) -> bytes:
    tokens = writer.continuation(writer.tokens_of(prompt), temperature=0)
    return bytes(islice(tokens, count))


def test_writes_with_the_newest_weights_of_all_trainers(tmp_path: Path) -> None:
    one, two = tmp_path / "trainer", tmp_path / "trainer-1"
    keep(SPEC, one, epoch=3, writes=ord("x"))
    keep(SPEC, two, epoch=4, writes=ord("y"))
    writer = Writer(order(one, two))
    assert writer.refresh() == 4
    assert written(writer) == b"yyy"
    keep(SPEC, one, epoch=5, writes=ord("z"))
    assert writer.refresh() == 5
    assert written(writer) == b"zzz"


def test_weights_that_are_loaded_are_not_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "trainer"
    keep(SPEC, folder, epoch=3, writes=ord("x"))
    writer = Writer(order(folder))
    writer.refresh()
    (file,) = folder.glob("*.pt")
    file.write_bytes(b"damaged")
    assert writer.refresh() == 3
    assert written(writer) == b"xxx"


def test_a_damaged_checkpoint_stays_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "trainer"
    keep(SPEC, folder, epoch=3, writes=ord("x"))
    keep(SPEC, folder, epoch=4, writes=ord("y"))
    newest = max(folder.glob("*.pt"))
    newest.write_bytes(b"damaged")
    before = set(folder.iterdir())
    assert Writer(order(folder)).refresh() == 3
    assert set(folder.iterdir()) == before


def test_the_model_ends_its_text(tmp_path: Path) -> None:
    keep(SPEC, tmp_path, writes=0)
    writer = Writer(order(tmp_path))
    writer.refresh()
    assert written(writer) == b""


def test_a_prompt_begins_a_document(tmp_path: Path) -> None:
    keep(SPEC, tmp_path)
    assert Writer(order(tmp_path)).tokens_of("é") == [0, 0xC3, 0xA9]
    assert Writer(order(tmp_path)).tokens_of("") == [0]


@pytest.mark.parametrize("spec", [spec_of(n_embd=16), spec_of("llama")], ids=["larger", "llama"])
def test_a_checkpoint_of_another_model_is_none(tmp_path: Path, spec: SwarmSpec) -> None:
    keep(spec, tmp_path)
    with pytest.raises(GenerationError, match="no checkpoint"):
        Writer(order(tmp_path)).refresh()


def test_without_a_checkpoint_there_is_nothing_to_write_with(tmp_path: Path) -> None:
    for folders in ((tmp_path,), (tmp_path / "none",), ()):
        with pytest.raises(GenerationError, match="no checkpoint"):
            Writer(order(*folders)).refresh()


def test_what_was_set_aside_for_another_peers_state_comes_last(tmp_path: Path) -> None:
    folder = tmp_path / "trainer"
    keep(SPEC, folder, epoch=9, writes=ord("x"))
    CheckpointFolder(folder, SPEC).set_aside()
    assert Writer(order(folder)).refresh() == 9
    keep(SPEC, folder, epoch=2, writes=ord("y"))
    assert Writer(order(folder)).refresh() == 2
