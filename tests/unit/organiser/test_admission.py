"""Who may take part, in this process and in all that watch the same file."""

import logging
from pathlib import Path

import pytest

from app.organiser import admission as admissions
from app.organiser.admission import OPEN
from app.organiser.roster import raw_peer_id
from tests.support.organiser.organisers import FIRST, SECOND, admission_by, organiser, sealed

KEY = organiser()


@pytest.fixture(autouse=True)
def look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "LOOK_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rosters" / "run.roster"


def test_an_open_swarm_is_everybodys() -> None:
    assert OPEN.may_join(FIRST)
    assert OPEN.may_join(b"anything")
    assert not OPEN.is_closed


def test_a_closed_swarm_without_a_roster_is_nobodys(file: Path) -> None:
    assert not admission_by(KEY, file).may_join(FIRST)


def test_members_alone_may_join(file: Path) -> None:
    admission = admission_by(KEY, file)
    assert admission.keep(sealed(KEY, FIRST))
    raw = raw_peer_id(FIRST)
    assert raw is not None
    assert admission.may_join(FIRST)
    assert admission.may_join(raw)
    assert not admission.may_join(SECOND)
    assert not admission.may_join("no peer")
    assert not admission.may_join(b"")


def test_a_newer_roster_reaches_those_who_watch(file: Path) -> None:
    writer, watcher = admission_by(KEY, file), admission_by(KEY, file)
    writer.keep(sealed(KEY, FIRST, SECOND, serial=1))
    assert watcher.may_join(SECOND)
    writer.keep(sealed(KEY, FIRST, serial=2))
    assert not watcher.may_join(SECOND)
    assert watcher.may_join(FIRST)


def test_an_older_roster_brings_nobody_back(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    admission = admission_by(KEY, file)
    old, new = sealed(KEY, FIRST, SECOND, serial=1), sealed(KEY, FIRST, serial=2)
    admission.keep(new)
    assert not admission.keep(old)
    file.write_bytes(old)  # by hand, or from a backup
    with caplog.at_level(logging.WARNING):
        assert not admission.may_join(SECOND)
    assert "no newer roster" in caplog.text
    assert admission.sealed == new


@pytest.mark.parametrize("content", [b"", b"garbage", sealed(organiser(), SECOND, serial=9)])
def test_a_damaged_or_forged_file_admits_nobody(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    admission = admission_by(KEY, file)
    assert not admission.may_join(SECOND)
    assert admission.keep(sealed(KEY, FIRST))
    assert admission_by(KEY, file).may_join(FIRST)


def test_the_file_is_the_owners(file: Path) -> None:
    admission_by(KEY, file).keep(sealed(KEY, FIRST))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_gone_changes_nothing(file: Path) -> None:
    admission = admission_by(KEY, file)
    admission.keep(sealed(KEY, FIRST))
    file.unlink()
    assert admission.may_join(FIRST)


def test_what_is_older_than_the_known_one_is_none(file: Path) -> None:
    admission = admission_by(KEY, file)
    old, new = sealed(KEY, FIRST, serial=1), sealed(KEY, FIRST, serial=2)
    assert admission.opened(old) is not None
    admission.keep(new)
    assert admission.opened(old) is None
    assert admission.opened(new) is not None
    assert admission.opened(b"") is None
