"""Failed starts are counted until one succeeds."""

from pathlib import Path

import pytest

from app.lifecycle.start_guard import StartGuard


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "failed-starts"


def test_begin_is_true_after_two_failures_in_a_row(file: Path) -> None:
    assert [StartGuard(file).begin() for _ in range(4)] == [False, False, True, True]


def test_success_resets_the_count(file: Path) -> None:
    for _ in range(5):
        guard = StartGuard(file)
        assert not guard.begin()
        guard.succeed()
        guard.succeed()
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"many", b"\xff"])
def test_a_damaged_file_counts_as_zero(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert not StartGuard(file).begin()


def test_a_folder_that_cant_be_written_is_no_error(tmp_path: Path) -> None:
    guard = StartGuard(tmp_path / "missing" / "failed-starts")
    assert not guard.begin()
    guard.succeed()
