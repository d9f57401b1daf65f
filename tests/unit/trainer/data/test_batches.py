"""Drawing: the same peer draws the same, another peer differs, a resumed one goes on."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import DataError
from app.spec import schema as specs
from app.trainer.data.batches import StreamBatches, WindowBatches
from app.trainer.data.documents import Piece
from app.trainer.data.opening import open_data
from app.trainer.data.reader import read_apart
from app.trainer.data.tokenizer import ByteTokens, tokens_of
from app.trainer.pinned.downloads import Downloads

TOKENS = np.arange(200, dtype=np.uint8)
SMALL = st.integers(0, 50)


def spec_of(data: dict[str, Any], *, length: int = 8, seed: int = 1) -> specs.SwarmSpec:
    return specs.parse(
        {
            "run_id": "test",
            "model_config": {"model_type": "gpt2"},
            "training_params": {
                "target_batch_size": 64,
                "sequence_length": length,
                "seed": seed,
            },
            "dataset_info": data,
        }
    )


def in_folder(cache: Path) -> Downloads:
    return Downloads(cache=cache)


def windows(*, identity: bytes = b"me", seed: int = 1, start: int = 0) -> WindowBatches:
    return WindowBatches(
        TOKENS,
        sequence_length=8,
        vocabulary_size=256,
        seed=seed,
        identity=identity,
        start=start,
    )


# --- windows


def test_a_batch_is_windows_of_the_corpus() -> None:
    batch = windows().next(5)
    assert batch.dtype == torch.int64
    assert batch.shape == (5, 9)
    assert batch.device.type == "cpu"
    assert (batch[:, 1:] - batch[:, :-1] == 1).all()


@given(start=st.integers(0, 2**40), sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_how_samples_are_batched_changes_nothing(start: int, sizes: list[int]) -> None:
    one_by_one, at_once = windows(start=start), windows(start=start)
    drawn = torch.cat([one_by_one.next(size) for size in sizes])
    assert torch.equal(drawn, at_once.next(sum(sizes)))
    assert one_by_one.position == at_once.position == start + sum(sizes)


@given(before=st.integers(1, 50), after=st.integers(1, 20), identity=st.binary(max_size=40))
def test_a_resumed_peer_draws_what_it_would_have_drawn(
    before: int, after: int, identity: bytes
) -> None:
    whole = windows(identity=identity).next(before + after)
    resumed = windows(identity=identity, start=before).next(after)
    assert torch.equal(resumed, whole[before:])


@given(one=st.binary(max_size=40), other=st.binary(max_size=40), seed=st.integers(0, 2**63 - 1))
def test_peers_of_one_seed_draw_differently(one: bytes, other: bytes, seed: int) -> None:
    same = torch.equal(
        windows(identity=one, seed=seed).next(20), windows(identity=other, seed=seed).next(20)
    )
    assert same == (one == other)


def test_the_seed_counts_too() -> None:
    assert not torch.equal(windows(seed=1).next(20), windows(seed=2).next(20))


def test_every_window_can_be_drawn_the_last_one_too() -> None:
    firsts = windows().next(5000)[:, 0]
    assert sorted(set(firsts.tolist())) == list(range(200 - 8))


def test_pinned_batches_are_asked_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = torch.zeros(2, 9)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned)
    batches = WindowBatches(
        TOKENS, sequence_length=8, vocabulary_size=256, seed=1, identity=b"me", pin=True
    )
    assert batches.next(2) is pinned


# --- streams


def stream(*, start: int = 0) -> StreamBatches:
    pieces = (Piece(f"document {number}", last=True) for number in range(1000))
    tokens = read_apart(partial(tokens_of, pieces, tokenizer=ByteTokens()), dtype=np.dtype("u1"))
    return StreamBatches(tokens, sequence_length=8, vocabulary_size=256, start=start)


def test_a_stream_is_packed_without_a_gap() -> None:
    batches = stream()
    drawn = torch.cat([batches.next(3), batches.next(70), batches.next(1)]).flatten()
    text = "".join(f"document {number}\0" for number in range(200)).encode()
    assert bytes(drawn.tolist()) == text[: 74 * 9]
    assert batches.position == 74
    assert batches.vocabulary_size == 256


def test_a_resumed_stream_counts_on() -> None:
    batches = stream(start=40)
    batches.next(2)
    assert batches.position == 42


def test_a_closed_stream_gives_nothing_more() -> None:
    batches = stream()
    batches.close()
    with pytest.raises(ValueError, match="closed"):
        batches.next(1000)


# --- from the spec


def test_the_built_in_text_needs_nothing(tmp_path: Path) -> None:
    spec = spec_of({"source": "builtin"}, length=64)
    batches = open_data(spec, identity=b"me", downloads=in_folder(tmp_path))
    batch = batches.next(4)
    assert batches.vocabulary_size == 256
    assert batch.shape == (4, 65)
    assert bytes(batch[0].tolist()).isascii()
    batches.close()


def test_a_corpus_is_tokenised_once(tmp_path: Path) -> None:
    spec = spec_of({"source": "builtin"})
    first = open_data(spec, identity=b"me", downloads=in_folder(tmp_path)).next(4)
    (kept,) = (tmp_path / "tokens").iterdir()
    written = kept.stat().st_mtime_ns
    again = open_data(spec, identity=b"me", downloads=in_folder(tmp_path)).next(4)
    assert torch.equal(first, again)
    assert kept.stat().st_mtime_ns == written


def test_a_changed_file_is_tokenised_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    spec = spec_of({"source": "files", "paths": [str(path)]})
    path.write_text("a" * 100)
    assert set(
        open_data(spec, identity=b"me", downloads=in_folder(tmp_path)).next(9).flatten().tolist()
    ) <= {
        97,
        0,
    }
    path.write_text("b" * 101)
    assert 98 in open_data(spec, identity=b"me", downloads=in_folder(tmp_path)).next(9)


def test_a_home_folder_is_understood(home: Path, tmp_path: Path) -> None:
    (home / "a.txt").write_text("a" * 100)
    spec = spec_of({"source": "files", "paths": ["~/a.txt"]})
    assert open_data(spec, identity=b"me", downloads=in_folder(tmp_path)).next(1).shape == (
        1,
        9,
    )


@pytest.mark.parametrize("text", ["", "1234567"])
def test_too_short_a_text_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        open_data(
            spec_of({"source": "files", "paths": [str(path)]}),
            identity=b"me",
            downloads=in_folder(tmp_path),
        )
    assert caught.value.field == "dataset_info"
    assert f"holds {len(text) + 1} tokens" in caught.value.message
    assert "takes 9" in caught.value.message


def test_the_shortest_text_is_one_window(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("12345678")
    spec = spec_of({"source": "files", "paths": [str(path)]})
    batch = open_data(spec, identity=b"me", downloads=in_folder(tmp_path)).next(3)
    assert bytes(batch[2].tolist()) == b"12345678\0"


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"can't be kept in .*cache/tokens"):
        open_data(
            spec_of({"source": "builtin"}),
            identity=b"me",
            downloads=in_folder(tmp_path / "cache"),
        )


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "fine" * 100}) + "\nbroken\n")
    with pytest.raises(DataError):
        open_data(
            spec_of({"source": "files", "paths": [str(path)]}),
            identity=b"me",
            downloads=in_folder(tmp_path),
        )
    assert list((tmp_path / "tokens").iterdir()) == []
