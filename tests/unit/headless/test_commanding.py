"""``lab`` on the command line: keys, pairing, and which machines are meant."""

import json
from pathlib import Path

import pytest

from app import cli
from app.commands.lab import LabAsked
from app.common.errors import LabError
from app.common.paths import Folders
from app.headless import commanding
from app.settings import loading
from app.settings.settings import Settings
from app.swarm.fleet import Machine
from tests.support.machine.machines import new_key, record
from tests.support.training.specs import SMALLEST


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.under(tmp_path / "data")
    made.create()
    return made


def run(folders: Folders, *words: str) -> int:
    asked = cli.parse(["lab", *words]).command
    assert isinstance(asked, LabAsked)
    return commanding.run(asked, folders, Settings.model_construct())


def test_the_key_is_made_once_and_kept_private(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folders, "key") == 0
    first = capsys.readouterr().out
    assert run(folders, "key") == 0
    assert capsys.readouterr().out == first
    assert len(first.strip()) == 44
    assert (folders.data / "identities" / "lab.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("by_file", [True, False])
def test_a_machine_is_paired_by_a_code_or_a_file_and_unpaired(
    folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str], by_file: bool
) -> None:
    key = new_key().public_key
    file = tmp_path / "lab.key"
    file.write_text(f"{key}\n")
    assert run(folders, "pair", str(file) if by_file else key, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lab_key"] == key
    assert len(told["machine"]) == 44
    assert loading.load(folders.settings_file).lab_key == key
    assert run(folders, "unpair") == 0
    assert loading.load(folders.settings_file).lab_key == ""


@pytest.mark.parametrize("code", ["", "abc", "A" * 43 + "B=", "A" * 44 + "=", "/no/such/file"])
def test_what_is_no_key_is_not_paired_with(folders: Folders, code: str) -> None:
    assert run(folders, "pair", code) == 1
    assert not folders.settings_file.exists()


def test_a_private_key_is_no_code(folders: Folders) -> None:
    assert run(folders, "key") == 0
    assert run(folders, "pair", str(folders.data / "identities" / "lab.pem")) == 1


@pytest.mark.parametrize(
    "words", [("stop",), ("stop", "--all", "lab-01")], ids=["none", "all and one"]
)
def test_machines_must_be_named(folders: Folders, tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "a.cotrain"
    file.write_text(json.dumps(SMALLEST))
    assert run(folders, *words, "--swarm", str(file)) == commanding.USAGE


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "50000", "soon"])
def test_a_pause_has_a_length(folders: Folders, tmp_path: Path, minutes: str) -> None:
    file = tmp_path / "a.cotrain"
    file.write_text(json.dumps(SMALLEST))
    assert run(folders, "pause", "--swarm", str(file), "--all", "--", minutes) == 1


def machine(alias: str) -> Machine:
    return Machine(
        public_key=new_key().public_key,
        record=record(alias=alias),
        first_seen=0.0,
        last_seen=0.0,
        concerns=(),
    )


def test_a_machine_is_named_by_its_alias_or_the_beginning_of_its_key() -> None:
    one, two = machine("lab-01"), machine("lab-02")
    named = commanding._named([one, two], ["lab-01", two.public_key[:10], one.public_key])
    assert named == [one, two]


@pytest.mark.parametrize("name", ["lab-03", "", "A"])
def test_an_unknown_name_is_told(name: str) -> None:
    with pytest.raises(LabError):
        commanding._named([machine("lab-01")], [name])


def test_a_name_that_two_machines_have_means_none() -> None:
    """Anybody can give a machine the name of another one."""
    with pytest.raises(LabError, match="several"):
        commanding._named([machine("lab-01"), machine("lab-01")], ["lab-01"])
