"""Adding and removing members: what is in the file afterwards."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.common.errors import RosterError
from app.organiser.members import Members, runs_of
from tests.support.organiser.organisers import FIRST, PLAIN, SECOND, admission_by, organiser, sealed

KEY = organiser()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rosters" / "run.roster"


@pytest.fixture
def members(file: Path) -> Members:
    return Members(KEY, run_id="run", file=file)


def test_changes_are_signed_and_numbered(members: Members, file: Path) -> None:
    members.add(f"{FIRST} {SECOND}", "Ada")
    assert admission_by(KEY, file).may_join(SECOND)
    members.remove(SECOND)
    after = admission_by(KEY, file)
    assert not after.may_join(SECOND)
    assert [each.label for each in after.roster.members] == ["Ada"]
    assert after.roster.serial == 3


def test_what_is_there_already_changes_nothing(members: Members, file: Path) -> None:
    members.add(FIRST, "Ada")
    before = file.read_bytes()
    members.add(FIRST, "Ada")
    assert file.read_bytes() == before


@pytest.mark.parametrize("code", ["", " , ", "no peer", f"{FIRST} no-peer"])
def test_a_wrong_code_changes_nothing(members: Members, file: Path, code: str) -> None:
    with pytest.raises(RosterError) as caught:
        members.add(code, "")
    assert caught.value.field == "peer_id"
    assert not file.exists()


def test_changes_at_the_same_time_are_all_there(file: Path) -> None:
    def add(peer_id: str) -> None:
        Members(KEY, run_id="run", file=file).add(peer_id, "")

    with ThreadPoolExecutor() as threads:
        list(threads.map(add, (FIRST, SECOND, PLAIN)))
    assert {each.peer_id for each in admission_by(KEY, file).roster.members} == {
        FIRST,
        SECOND,
        PLAIN,
    }


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "rosters").write_bytes(b"a file")
    with pytest.raises(RosterError) as caught:
        Members(KEY, run_id="run", file=tmp_path / "rosters" / "run.roster").add(FIRST, "")
    assert caught.value.field.endswith("run.roster")


def test_our_runs_are_those_that_we_signed(members: Members, file: Path) -> None:
    members.add(FIRST, "")
    (file.parent / "foreign.roster").write_bytes(sealed(organiser(), FIRST, run_id="foreign"))
    (file.parent / "renamed.roster").write_bytes(file.read_bytes())
    assert runs_of(KEY, file.parent) == ("run",)
    assert runs_of(KEY, file.parent / "nowhere") == ()
