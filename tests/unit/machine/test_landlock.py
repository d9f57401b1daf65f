"""A fault report says whether trainers are confined."""

import sys

import pytest

from app.machine import landlock

WITHOUT = "trainers run with all of the user's rights."


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock exists on Linux only")
@pytest.mark.parametrize(
    ("version", "said"),
    [
        (7, "Landlock (version 7) holds trainers to their own files."),
        (0, f"This kernel doesn't offer Landlock: {WITHOUT}"),
    ],
)
def test_what_the_kernel_offers_is_said(
    monkeypatch: pytest.MonkeyPatch, version: int, said: str
) -> None:
    monkeypatch.setattr("landlockpy.abi_version", lambda: version)
    assert landlock.offered() == said


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "landlockpy", None)
    assert landlock.offered().endswith(WITHOUT)


def test_another_system_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert landlock.offered() == f"Landlock exists on Linux only: {WITHOUT}"
