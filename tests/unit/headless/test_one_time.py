"""What the headless app does once: the check of its configuration."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli import Arguments, parse
from app.headless.run import run
from tests.support.network.certificates import make_certificate
from tests.support.training.specs import SMALLEST


def check(folder: Path, **fields: Any) -> int:
    return run(Arguments(headless=True, check_config=True, data_dir=folder, **fields))


def test_nothing_is_wrong_with_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path / "data") == 0
    assert "in order" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()  # it changes nothing


def test_each_mistake_has_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTRAIN_THEME", "pink")
    settings = {"version": 1, "alais": "lab-07", "terms": {"max_temperature": 8}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    invite = tmp_path / "swarm.cotrain"
    invite.write_text(json.dumps(SMALLEST | {"run_id": "", "training_params": {"seed": "x"}}))
    assert check(tmp_path, swarm=str(invite), overrides={"threads": -1}) == 2
    said = capsys.readouterr().err.splitlines()
    lines = [line.removeprefix("cotrain-contributor: ") for line in said]
    for name in ("COTRAIN_THEME", "alais", "terms.max_temperature", "threads", "run_id"):
        assert sum(line.startswith(f"{name}:") for line in lines) == 1, lines
    assert any("training_params" in line for line in lines)
    assert all("Correct it" in line for line in lines if line.startswith("alais"))


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "x"}', '{"version": 99}'])
def test_a_damaged_file_is_said_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(content)
    assert check(tmp_path) == 2
    assert str(file) in capsys.readouterr().err
    assert file.read_text() == content
    assert check(tmp_path, safe=True) == 0


def test_an_invite_that_isn_t_there_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, swarm=str(tmp_path / "none.cotrain")) == 2
    assert "none.cotrain: can't be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"callback_certificate": "c.pem"}, "callback_key: a certificate and its key"),
        ({"callback_key": "k.pem"}, "callback_certificate: a certificate and its key"),
        ({"callback_certificate": "c.pem", "callback_key": "k.pem"}, "can't be read"),
    ],
)
def test_a_certificate_that_can_t_be_used_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], said: str
) -> None:
    assert check(tmp_path, overrides=files) == 2
    assert said in capsys.readouterr().err


def test_a_certificate_that_can_be_used_is_none(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    files = {"callback_certificate": str(certificate), "callback_key": str(key)}
    assert check(tmp_path, overrides=files) == 0


def test_a_key_with_a_password_is_a_mistake_and_asks_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = make_certificate(tmp_path, password=b"secret")
    files = {"callback_certificate": str(certificate), "callback_key": str(key)}
    assert check(tmp_path, overrides=files) == 2
    assert "without a password" in capsys.readouterr().err


def test_a_slot_without_a_file_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invite = tmp_path / "swarm.cotrain"
    dataset = {"source": "slot", "label": "words"}
    invite.write_text(json.dumps(SMALLEST | {"dataset_info": dataset}))
    assert check(tmp_path, swarm=str(invite)) == 2
    assert "words" in capsys.readouterr().err
    assert check(tmp_path, swarm=str(invite), data={"words": str(invite)}) == 0


def test_it_is_asked_for_on_the_command_line() -> None:
    asked = parse(["--check-config", "--swarm", "a.cotrain"])
    assert (asked.check_config, asked.headless, asked.swarm) == (True, True, "a.cotrain")
