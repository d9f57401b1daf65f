"""What is held out: by the text alone, the same on every peer, and never trained on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import SpecError
from app.spec import schema as specs
from app.trainer.data import held_out as module
from app.trainer.data.documents import Piece, PythonDocs, TextFiles
from app.trainer.data.held_out import (
    MOST_HELD_OUT,
    HeldOutPart,
    Split,
    TrainingPart,
    chunks_of,
    held_out,
    trained_on,
)
from app.trainer.data.opening import open_data, open_held_out
from app.trainer.pinned.downloads import Downloads

DOCS = PythonDocs()
PIECES = st.lists(st.builds(Piece, st.text(alphabet="ab \n", max_size=40), last=st.booleans()))


def in_cache(folder: Path) -> Downloads:
    return Downloads(cache=folder / "cache")


def documents(pieces: Iterable[Piece]) -> list[str]:
    found, text = [], ""
    for piece in pieces:
        text += piece.text
        if piece.last:
            found.append(text)
            text = ""
    return [*found, text] if text else found


def texts(pieces: Iterable[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.text]


def words(count: int, *, begin: int = 0) -> str:
    return "".join(f"line {number} of some text\n" for number in range(begin, begin + count))


def files(path: Path) -> TextFiles:
    return TextFiles(paths=(path,), format="auto", text_field="text", field="dataset_info.paths")


# --- chunks


@given(pieces=PIECES)
def test_chunks_hold_the_same_documents(pieces: list[Piece]) -> None:
    ended = [*pieces, Piece("", last=True)]
    assert documents(chunks_of(ended)) == documents(ended)


@given(text=st.text(alphabet="ab\n", max_size=300), cut=st.integers(0, 300))
def test_chunks_do_not_depend_on_how_the_text_was_read(text: str, cut: int) -> None:
    at = text.rfind("\n", 0, cut) + 1  # files are read in whole lines
    parts = [Piece(text[:at], last=False), Piece(text[at:], last=True)]
    assert texts(chunks_of(parts)) == texts(chunks_of([Piece(text, last=True)]))


def test_a_line_without_an_end_is_cut() -> None:
    assert max(map(len, texts(chunks_of([Piece("x" * 100_000, last=True)])))) == 8192


# --- the split


def test_nothing_is_in_both_parts_and_nothing_is_lost() -> None:
    learnt = texts(TrainingPart(source=DOCS, share=0.1).pieces())
    kept = texts(HeldOutPart(source=DOCS, share=0.1).pieces())
    assert not set(learnt) & set(kept)
    assert sorted({*learnt, *kept}) == sorted(set(texts(chunks_of(DOCS.pieces()))))
    assert 0.05 < sum(map(len, kept)) / sum(map(len, [*learnt, *kept])) < 0.15


def test_peers_with_other_files_hold_out_the_same_passages() -> None:
    common = words(5000)
    one = [Piece(words(77, begin=10**6) + common, last=True)]
    other = [Piece(common, last=False), Piece(words(99, begin=10**7), last=True)]
    split = [set(texts(held_out(each, Split(0.1, keep_first=False), most_looked_at=None)))
             for each in (one, other)]  # fmt: skip
    shared = split[0] & split[1]
    assert len(shared) > 5
    differing = [text for text in split[0] ^ split[1] if text in common]
    assert len(differing) <= 2  # where the passage begins and ends, a chunk has other text too
    learnt = "".join(texts(trained_on(other, Split(0.1, keep_first=False))))
    assert not any(text in learnt for text in shared)


def test_text_around_a_gap_is_not_joined() -> None:
    text = words(3000)
    found = documents(trained_on([Piece(text, last=True)], Split(0.1, keep_first=False)))
    assert len(found) > 3
    assert all(each in text for each in found)


def test_the_shortest_text_is_trained_on() -> None:
    for number in range(200):
        piece = Piece(f"text {number}", last=True)
        assert texts(trained_on([piece], Split(0.5, keep_first=True))) == [piece.text]
        assert not held_out([piece], Split(0.5, keep_first=True), most_looked_at=None)


def test_what_is_kept_is_bounded_and_a_sample_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD_OUT", 5000)
    lines = [Piece(f"document {number}", last=True) for number in range(20_000)]
    kept = texts(held_out(lines, Split(0.5, keep_first=False), most_looked_at=None))
    assert 5000 <= sum(map(len, kept)) < 5100
    numbers = [int(text.split()[1]) for text in kept]
    assert 8000 < sum(numbers) / len(numbers) < 12_000


def test_a_stream_is_searched_only_so_far() -> None:
    endless = (Piece(f"document {number}", last=True) for number in iter(int, 1))
    assert held_out(endless, Split(0.9, keep_first=False), most_looked_at=10_000) is not None


# --- by the spec


def spec_of(path: Path, **evaluation: Any) -> specs.SwarmSpec:
    return specs.parse(
        {
            "run_id": "test",
            "model_config": {"model_type": "gpt2"},
            "training_params": {
                "target_batch_size": 64,
                "sequence_length": 8,
                "evaluation": evaluation,
            },
            "dataset_info": {"source": "files", "paths": [str(path)]},
        }
    )


def test_training_draws_nothing_that_is_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text(words(3000))
    spec = spec_of(path, share=0.2)
    apart = open_held_out(spec, downloads=in_cache(tmp_path))
    windows = open_data(spec, identity=b"me", downloads=in_cache(tmp_path)).next(20_000)
    learnt = {bytes(row) for row in windows.tolist()}
    kept = bytes(apart.tokens)
    assert len(kept) > 1000
    # a window of nine bytes may occur twice in the text; a line's number makes the longest unique
    lines = [line for line in kept.split(b"\n") if b" of some" in line]
    seen = {line[5:14] for line in lines if line[5:].split()[0].isdigit()}
    assert not seen & {row for row in learnt if row[:4].isdigit()}
    assert apart.tokenizer.byte_count(apart.tokens) == len(kept)


def test_each_part_of_a_mixture_is_held_out_of_in_proportion(tmp_path: Path) -> None:
    parts = []
    for name, weight in (("one", 3), ("other", 1)):
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(f"{name} {number} of some text\n" for number in range(9000)))
        data = {"source": "files", "paths": [str(path)]}
        parts.append({"weight": weight, "data": data})
    content = spec_of(tmp_path, share=0.2).to_json()
    mixture = {"source": "mixture", "parts": parts}
    spec = specs.parse(content | {"dataset_info": mixture})
    kept = bytes(open_held_out(spec, downloads=in_cache(tmp_path)).tokens).decode()
    held = {line for line in kept.split("\n") if line.endswith(" text")}
    first = kept[: len(kept) // 3]
    assert 2 < first.count("one ") / first.count("other ") < 4.5
    open_data(spec, identity=b"me", downloads=in_cache(tmp_path))
    corpora = [file.read_text() for file in (tmp_path / "cache" / "tokens").glob("*.bin")]
    learnt = [corpus.split("\n") for corpus in corpora if corpus != kept]
    assert len(learnt) == 2
    assert not held & {line for lines in learnt for line in lines}


def test_a_part_of_a_mixture_names_no_text_of_its_own(tmp_path: Path) -> None:
    apart = {"source": "hub", "name": "us/words"}
    part = {"weight": 1, "data": {"source": "builtin", "held_out": apart}}
    content = spec_of(tmp_path).to_json()
    mixture = {"source": "mixture", "parts": [part, part]}
    with pytest.raises(SpecError, match="for all its parts"):
        specs.parse(content | {"dataset_info": mixture})
    named = specs.parse(
        content
        | {
            "dataset_info": {
                "source": "mixture",
                "parts": [{"weight": 1, "data": {"source": "builtin"}}] * 2,
                "held_out": apart,
            }
        }
    )
    assert specs.parse(named.to_json()) == named
    assert named.data.held_out is not None


def test_without_evaluations_all_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text(words(300))
    open_data(spec_of(path, every_epochs=0), identity=b"me", downloads=in_cache(tmp_path))
    (corpus,) = (tmp_path / "cache" / "tokens").glob("*.bin")
    assert corpus.read_bytes() == words(300).encode() + b"\0"


def test_at_most_so_much_is_kept() -> None:
    assert MOST_HELD_OUT < 2**24
