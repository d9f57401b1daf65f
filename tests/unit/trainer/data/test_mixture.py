"""Several sources in proportion to their weights, and exactly the same ones after a resume."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from app.common.errors import DataError, ProtocolError
from app.spec import schema as specs
from app.trainer.data import mixture
from app.trainer.data.batches import Batches
from app.trainer.data.mixture import Mixing
from app.trainer.data.opening import open_data
from app.trainer.pinned.downloads import Downloads


def mixed(tmp_path: Path, *, weights: tuple[float, ...] = (3, 1), **options: Any) -> Batches:
    """Letters ``a`` and ``b``, so that a sample says where it comes from."""
    parts = []
    for letter, weight in zip("ab", weights, strict=True):
        path = tmp_path / f"{letter}.txt"
        path.write_text(letter * 5000)
        parts.append({"weight": weight, "data": {"source": "files", "paths": [str(path)]}})
    return opened({"source": "mixture", "parts": parts}, tmp_path, **options)


def opened(data: dict[str, Any], folder: Path, **options: Any) -> Batches:
    spec = specs.parse(
        {
            "run_id": "test",
            "model_config": {"model_type": "gpt2"},
            "training_params": {"target_batch_size": 4, "sequence_length": 7},
            "dataset_info": data,
        }
    )
    return open_data(
        spec, downloads=Downloads(cache=folder / "cache"), **{"identity": b"me", **options}
    )


def letters(samples: torch.Tensor) -> str:
    """One for each sample, whose tokens are all alike."""
    assert bool((samples == samples[:, :1]).all())
    return bytes(samples[:, 0].tolist()).decode()


def test_each_source_is_drawn_as_often_as_its_weight_says(tmp_path: Path) -> None:
    found = letters(mixed(tmp_path).next(4000))
    assert found.count("a") == pytest.approx(3000, abs=120)
    assert "aba" in found


@pytest.mark.parametrize("start", [1, 37, 999])
def test_a_peer_that_resumes_draws_what_it_would_have_drawn(tmp_path: Path, start: int) -> None:
    text = b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(200))
    (tmp_path / "c.txt").write_bytes(text)
    parts = [
        {"weight": 2, "data": {"source": "files", "paths": [str(tmp_path / "c.txt")]}},
        {"weight": 0.5, "data": {"source": "builtin"}},
    ]
    data = {"source": "mixture", "parts": parts}
    whole = opened(data, tmp_path)
    whole.next(start)
    resumed = opened(data, tmp_path, start=start)
    assert resumed.position == whole.position == start
    for size in (5, 1, 20):
        assert torch.equal(resumed.next(size), whole.next(size))
    assert resumed.position == start + 26


def test_each_peer_draws_in_its_own_order(tmp_path: Path) -> None:
    one, other = (letters(mixed(tmp_path, identity=name).next(64)) for name in (b"me", b"you"))
    assert one != other


def test_counts_are_those_of_the_picks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "_COUNTED", 100)
    mixing = Mixing([1, 2.5, 0.001], key=7)
    picks = mixing.picks(0, 1234).tolist()
    assert mixing.counts(1234) == [picks.count(number) for number in range(3)]
    assert mixing.counts(0) == [0, 0, 0]


@pytest.mark.parametrize("weights", [(1e-300, 1e6), (1e6, 1e-300)])
def test_extreme_weights_are_drawn_all_the_same(tmp_path: Path, weights: Any) -> None:
    found = letters(mixed(tmp_path, weights=weights).next(100))
    assert found == ("b" if weights[0] < 1 else "a") * 100


def test_a_part_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    parts = [
        {"weight": 1, "data": {"source": "builtin"}},
        {"weight": 1, "data": {"source": "files", "paths": ["/nowhere/x.txt"]}},
    ]
    with pytest.raises(DataError, match="/nowhere/x") as caught:
        opened({"source": "mixture", "parts": parts}, tmp_path)
    assert caught.value.field == "dataset_info.parts.1.data.paths"


def test_an_empty_slot_is_the_apps_mistake(tmp_path: Path) -> None:
    part = {"weight": 1, "data": {"source": "slot", "label": "mine"}}
    parts = [part, {"weight": 1, "data": {"source": "builtin"}}]
    with pytest.raises(ProtocolError):
        opened({"source": "mixture", "parts": parts}, tmp_path)
