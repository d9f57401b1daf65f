"""The organiser's commands, from the command line to the files."""

import json
from pathlib import Path

import pytest

from app import cli
from app.common.paths import Folders
from app.headless import organising
from app.organiser.files import OrganiserFiles
from app.spec import invite
from tests.support.organiser.organisers import PLAIN, SECOND
from tests.support.training.specs import SMALLEST


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.under(tmp_path / "data")
    made.create()
    return made


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    file = tmp_path / "plain.cotrain"
    file.write_text(json.dumps(SMALLEST))
    return file


def run(folders: Folders, *arguments: str) -> int:
    command = cli.parse(arguments).command
    assert command is not None
    return organising.run(command, folders)


def sign(folders: Folders, plain: Path, *, closed: bool = True) -> Path:
    out = plain.with_name("signed.cotrain")
    kind = ("--closed",) if closed else ()
    assert run(folders, "sign", str(plain), "--organiser", "Ada", *kind, "--out", str(out)) == 0
    return out


def listed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_signed_invite_is_a_swarm_with_one_member(
    folders: Folders, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = invite.load_file(sign(folders, plain))
    assert signed.organiser is not None
    assert signed.organiser.closed
    capsys.readouterr()
    assert run(folders, "members", "add", PLAIN, "--label", "Bob") == 0
    ada, bob = listed(capsys)
    assert (ada.endswith("  Ada"), bob) == (True, f"{PLAIN}  Bob")
    assert run(folders, "members", "remove", PLAIN, "--swarm", "run") == 0
    assert listed(capsys) == [ada]
    assert run(folders, "members", "list", "--swarm", str(plain.with_name("signed.cotrain"))) == 0
    assert listed(capsys) == [ada]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("members", "add", "no-peer"), "peer_id"),
        (("members", "remove", SECOND), "peer_id"),
        (("members", "list", "--swarm", "/nowhere"), "/nowhere"),
        (("sign", "/nowhere", "--organiser", "Ada", "--out", "/tmp/a"), "/nowhere"),
    ],
)
def test_a_mistake_is_named(
    folders: Folders,
    plain: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    named: str,
) -> None:
    sign(folders, plain)
    capsys.readouterr()
    assert run(folders, *arguments) == 1
    assert named in capsys.readouterr().err


def test_a_name_that_is_none_is_refused(
    folders: Folders, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = plain.with_name("signed.cotrain")
    assert run(folders, "sign", str(plain), "--organiser", " ", "--out", str(out)) == 1
    assert "organiser.name" in capsys.readouterr().err
    assert not out.exists()


def test_a_signed_invite_says_what_for(folders: Folders, plain: Path) -> None:
    first = sign(folders, plain)
    out = plain.with_name("again.cotrain")
    said = ("--purpose", "Old letters", "--until", "2027-03-31", "--licence", "MIT")
    assert run(folders, "sign", str(first), "--organiser", "Ada", *said, "--out", str(out)) == 0
    more = ("--contact", "ada@a.example", "--licence", "Apache-2.0")
    assert run(folders, "sign", str(out), "--organiser", "Ada", *more, "--out", str(out)) == 0
    about = invite.load_file(out).about
    assert about is not None
    assert about.as_json() == {
        "purpose": "Old letters",
        "until": "2027-03-31",
        "licence": "Apache-2.0",
        "contact": "ada@a.example",
    }


def test_a_day_that_is_none_is_refused(
    folders: Folders, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = plain.with_name("signed.cotrain")
    day = ("--until", "soon", "--out", str(out))
    assert run(folders, "sign", str(plain), "--organiser", "Ada", *day) == 1
    assert "about.until" in capsys.readouterr().err
    assert not out.exists()


def test_who_never_organised_has_no_members(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folders, "members", "list") == 1
    assert "organised no swarm" in capsys.readouterr().err
    assert not OrganiserFiles(folders.data).key.exists()


def test_another_organisers_swarm_is_left_alone(
    folders: Folders, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Folders.under(tmp_path / "other")
    other.create()
    sign(other, plain, closed=False)  # which makes a key
    foreign = sign(folders, plain)
    assert run(other, "members", "list", "--swarm", str(foreign)) == 1
    assert "isn't signed with this machine's key" in capsys.readouterr().err
    assert run(other, "members", "list") == 1
    assert "several closed swarms, or none" in capsys.readouterr().err
