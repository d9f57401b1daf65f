"""What the kernel killed just now counts; what it killed once doesn't."""

from pathlib import Path

import pytest

from app.training import oom_kills
from app.training.oom_kills import LOOKS, OomKills


@pytest.fixture
def counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "vmstat"
    file.write_text("pgfault 12\noom_kill 3\n", encoding="ascii")
    monkeypatch.setattr(oom_kills, "KERNEL_COUNTERS", file)
    return file


def test_one_is_remembered_for_a_while(counters: Path) -> None:
    kills = OomKills()
    assert not kills.any_just_now
    counters.write_text("pgfault 12\noom_kill 4\n", encoding="ascii")
    for _ in range(LOOKS - 1):
        assert kills.any_just_now
        kills.look()
    kills.look()
    assert not kills.any_just_now


def test_where_the_kernel_says_nothing_there_is_none(counters: Path) -> None:
    counters.unlink()
    assert not OomKills().any_just_now
