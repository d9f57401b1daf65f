"""Trust on first use: which organiser is new, known, or another one than before."""

import json
import logging
from pathlib import Path

import pytest

from app.organiser import known as knowns
from app.organiser.invites import OrganiserSpec
from app.organiser.known import KnownOrganisers, Standing
from tests.support.organiser.organisers import organiser

ADA, EVE = organiser().public_key, organiser().public_key


def signed_by(key: str, name: str = "Ada") -> OrganiserSpec:
    return OrganiserSpec(name=name, key=key, signature="A" * 86 + "==")


@pytest.fixture
def known(tmp_path: Path) -> KnownOrganisers:
    return KnownOrganisers(tmp_path / "organisers.json")


def test_nobody_is_known_at_first(known: KnownOrganisers) -> None:
    assert known.judge("run", signed_by(ADA)).standing is Standing.NEW
    assert known.judge("run", None).standing is Standing.UNSIGNED


@pytest.mark.parametrize(
    ("run_id", "found", "standing"),
    [
        ("run", signed_by(ADA), Standing.KNOWN),
        ("run", signed_by(ADA, "another name"), Standing.KNOWN),
        ("another", signed_by(ADA), Standing.KNOWN),
        ("another", signed_by(ADA, "another name"), Standing.KNOWN),
        ("another", signed_by(EVE, "Eve"), Standing.NEW),
        ("another", None, Standing.UNSIGNED),
        ("run", signed_by(EVE), Standing.CHANGED),
        ("run", signed_by(EVE, "Eve"), Standing.CHANGED),
        ("another", signed_by(EVE), Standing.CHANGED),
        ("another", signed_by(EVE, "ADA"), Standing.CHANGED),
        ("run", None, Standing.CHANGED),
    ],
)
def test_what_we_know_after_the_first_time(
    known: KnownOrganisers, run_id: str, found: OrganiserSpec | None, standing: Standing
) -> None:
    known.remember("run", signed_by(ADA))
    judged = known.judge(run_id, found)
    assert judged.standing is standing
    assert (judged.remembered == ADA) is (standing is not Standing.NEW and bool(judged.remembered))


@pytest.mark.parametrize("accepted", [signed_by(EVE), None])
def test_the_user_may_accept_another_one(
    known: KnownOrganisers, accepted: OrganiserSpec | None
) -> None:
    known.remember("run", signed_by(ADA))
    known.remember("run", accepted)
    assert known.judge("run", accepted).standing is not Standing.CHANGED


def test_the_file_is_the_owners(known: KnownOrganisers, tmp_path: Path) -> None:
    known.remember("run", signed_by(ADA))
    file = tmp_path / "organisers.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_bytes())["runs"] == {"run": ADA}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"version": 1, "runs": {"a": 1}, "names": {}}', b"[" * 10**5]
)
def test_a_damaged_file_is_set_aside(
    known: KnownOrganisers, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "organisers.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert known.judge("run", signed_by(ADA)).standing is Standing.NEW
    assert "set aside" in caplog.text
    assert [file.read_bytes() for file in tmp_path.glob("*damaged*")] == [content]
    known.remember("run", signed_by(ADA))


def test_the_oldest_are_forgotten(known: KnownOrganisers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowns, "MOST_ENTRIES", 2)
    for number in range(3):
        known.remember(f"run-{number}", signed_by(organiser().public_key, f"name {number}"))
    assert known.judge("run-0", None).standing is Standing.UNSIGNED
    assert known.judge("run-2", None).standing is Standing.CHANGED
