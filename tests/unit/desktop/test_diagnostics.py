"""The archive for a bug report has what helps, and no private data."""

import getpass
import json
import platform
import socket
import stat
import zipfile
from pathlib import Path

import pytest

from app.callback.tokens import ApiTokens, Role
from app.common.errors import DiagnosticsError
from app.common.paths import Folders
from app.common.signing import MachineKey
from app.desktop import about, diagnostics
from app.desktop.about import About, Component
from app.desktop.diagnostics import Private, collect
from app.settings.settings import Settings
from tests.support.machine.machines import HangingProbe

TORCH = Component(name="torch", version="2.13", licence="BSD", text="")
PEER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(socket, "gethostname", lambda: "annas-laptop.example")
    monkeypatch.setattr(platform, "node", lambda: "annas-laptop.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    monkeypatch.setenv("HOME", "/home/anna")
    known = About(version="9.1", commit="0123456789ab", parts=(TORCH,))
    (tmp_path / "about.json").write_text(known.to_json())
    monkeypatch.setattr(about, "BUILT", tmp_path / "about.json")
    made = Folders.under(tmp_path / "data")
    made.create()
    return made


@pytest.fixture
def private(folders: Folders) -> Private:
    return Private(folders)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("anna@uni.example wrote", "[e-mail] wrote"),
        ("peer at 203.0.113.7:8080", "peer at [address]:8080"),
        ("/ip4/192.168.1.20/tcp/8080", "/ip4/[address]/tcp/8080"),
        ("/ip6/2001:db8::7/tcp/1", "/ip6/[address]/tcp/1"),
        ("[fe80::1] answers", "[[address]] answers"),
        ("on annas-laptop and ANNAS-LAPTOP.example", "on [name] and [name]"),
        ("/home/anna/x and /media/anna/y", "~/x and /media/[name]/y"),
        ("Authorization: Bearer abcdef", "Authorization: Bearer [redacted]"),
        ("password=swordfish", "password=[redacted]"),
        ("[owner:ssh-rsa AAAAB3Nza] is", "[owner:[key] is"),
        ("-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n.", "[key]\n."),
        ("x " + "Ab1-" * 12 + " y", "x [secret] y"),
    ],
)
def test_private_data_is_replaced(private: Private, text: str, left: str) -> None:
    assert private.scrub(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000 and ::1 and 0.0.0.0",
        "at 12:34:56 version 1.1.12 took 1.5 s, epoch 3",
        f"peer {PEER} joined",
        "hannah and savanna stay",
        "app.trainer.process: training failed, std::bad_alloc",
        "commit 0123456789abcdef0123",
    ],
)
def test_harmless_text_is_kept(private: Private, text: str) -> None:
    assert private.scrub(text) == text


@pytest.fixture
def archive(folders: Folders, tmp_path: Path) -> dict[str, str]:
    """The files of an archive from a machine full of secrets."""
    operator = ApiTokens(folders.callback_tokens).of(Role.OPERATOR)
    folders.account_file.write_text('{"email": "anna@uni.example", "refresh": "short-secret"}')
    MachineKey.load_or_create(folders.machine_key_file)
    (folders.logs / "contributor.log").write_text(f"203.0.113.7 gave {operator}, short-secret\n")
    (folders.logs / "audit.log").write_text("10.1.2.3 refused\n")
    settings = Settings(alias="annas-box", backend_url="https://b.uni.example", threads=3)
    target = tmp_path / "report.zip"
    collect(target, folders=folders, settings=settings)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with zipfile.ZipFile(target) as found:
        return {name: found.read(name).decode() for name in found.namelist()}


def test_archive_has_everything_for_a_report(archive: dict[str, str]) -> None:
    assert set(archive) == {
        "versions.json",
        "settings.json",
        "hardware.json",
        "files.txt",
        "logs/contributor.log",
        "logs/audit.log",
    }
    assert json.loads(archive["versions.json"])["parts"] == {"torch": "2.13"}
    assert json.loads(archive["settings.json"])["threads"] == 3
    assert json.loads(archive["hardware.json"])["cpu"]["memory"] > 0
    assert "identities/machine.pem" in archive["files.txt"]
    assert archive["logs/contributor.log"] == "[address] gave [secret], [secret]\n"


def test_a_driver_that_hangs_is_not_waited_for(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = HangingProbe()
    monkeypatch.setattr(diagnostics, "SystemProbe", lambda: driver)
    monkeypatch.setattr(diagnostics, "HARDWARE_SECONDS", 0.05)
    collect(tmp_path / "report.zip", folders=folders, settings=Settings())
    with zipfile.ZipFile(tmp_path / "report.zip") as found:
        assert "no answer" in json.loads(found.read("hardware.json"))["unknown"]
    driver.may_answer.set()


def test_no_secret_is_anywhere_in_the_archive(archive: dict[str, str], folders: Folders) -> None:
    text = "\n".join(archive.values())
    secrets = [ApiTokens(folders.callback_tokens).of(role) for role in (Role.OPERATOR, Role.VIEWER)]
    key = folders.machine_key_file.read_text().splitlines()[1]
    private = ("short-secret", "anna", "203.0.113.7", "10.1.2.3", "uni.example", "laptop")
    for word in (*secrets, key, *private):
        assert word not in text


def test_archive_has_the_end_of_a_long_log(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "MAX_LOG_BYTES", 10)
    (folders.logs / "contributor.log").write_text("beginning, middle, the end")
    collect(tmp_path / "a.zip", folders=folders, settings=Settings())
    with zipfile.ZipFile(tmp_path / "a.zip") as found:
        assert found.read("logs/contributor.log") == b"e, the end"


def test_place_that_cant_be_written_is_named(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticsError) as caught:
        collect(tmp_path / "missing" / "a.zip", folders=folders, settings=Settings())
    assert "a.zip" in caught.value.field
