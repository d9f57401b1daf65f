"""The command line."""

import sys
from pathlib import Path
from typing import Any

import pytest

from app import __version__, cli
from app.cli import Arguments
from app.commands.curves import CurvesCommand
from app.commands.organiser import OrganiserCommand
from app.settings.settings import Settings


def test_without_arguments_nothing_is_overridden() -> None:
    assert cli.parse([]) == Arguments()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--demo"], Arguments(demo=True)),
        (["--swarm", "a.cotrain"], Arguments(swarm="a.cotrain")),
        (["--swarm", "cotrain://join?v=1"], Arguments(swarm="cotrain://join?v=1")),
        (["a.cotrain"], Arguments(invite="a.cotrain")),
        (["file:///tmp/my%20run.cotrain"], Arguments(invite="/tmp/my run.cotrain")),
        (["cotrain://join?v=1&spec=a"], Arguments(invite="cotrain://join?v=1&spec=a")),
        (["--headless", "--train"], Arguments(headless=True, train=True)),
        (["--headless", "--serve"], Arguments(headless=True, serve=True)),
        (["--bootstrap"], Arguments(headless=True, bootstrap=True)),
        (["--minimized"], Arguments(minimized=True)),
        (["--sign-in", "a@b.example"], Arguments(headless=True, sign_in="a@b.example")),
        (["--sign-out"], Arguments(headless=True, sign_out=True)),
        (["--safe"], Arguments(safe=True)),
        (["--fetch-gpu-runtime"], Arguments(headless=True, gpu_runtime=True)),
        (["--diagnostics", "a"], Arguments(headless=True, diagnostics=Path("a"))),
        (["--data-dir", "/there"], Arguments(data_dir=Path("/there"))),
        (["--accept-organiser", "none"], Arguments(accept_organiser="none")),
        (
            ["sign", "a.cotrain", "--organiser", "Ada", "--closed", "--out", "b.cotrain"],
            Arguments(
                headless=True,
                command=OrganiserCommand(
                    action="sign", swarm="a.cotrain", name="Ada", closed=True, out=Path("b.cotrain")
                ),
            ),
        ),
        (
            ["sign", "a.cotrain", "--organiser", "Ada", "--out", "b", "--run-by", "A library"],
            Arguments(
                headless=True,
                command=OrganiserCommand(
                    action="sign",
                    swarm="a.cotrain",
                    name="Ada",
                    about={"organiser": "A library"},
                    out=Path("b"),
                ),
            ),
        ),
        (["curves"], Arguments(headless=True, command=CurvesCommand())),
        (
            ["curves", "--run", "docs", "--to", "a.csv", "--data-dir", "/there"],
            Arguments(
                headless=True,
                data_dir=Path("/there"),
                command=CurvesCommand(run_id="docs", to=Path("a.csv")),
            ),
        ),
        (
            ["--data-dir", "/there", "members", "list"],
            Arguments(
                headless=True,
                data_dir=Path("/there"),
                command=OrganiserCommand(action="list"),
            ),
        ),
        (
            ["members", "add", "Qm1", "Qm2", "--label", "Bob", "--data-dir", "/there"],
            Arguments(
                headless=True,
                data_dir=Path("/there"),
                command=OrganiserCommand(action="add", code="Qm1 Qm2", label="Bob"),
            ),
        ),
        (
            ["members", "remove", "Qm1", "--swarm", "run"],
            Arguments(
                headless=True,
                command=OrganiserCommand(action="remove", code="Qm1", swarm="run"),
            ),
        ),
        (["verify", "a", "b"], Arguments(headless=True, verify=(Path("a"), Path("b")))),
    ],
)
def test_argument_is_parsed(arguments: list[str], expected: Arguments) -> None:
    assert cli.parse(arguments) == expected


def test_files_for_slots_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.txt").touch()
    found = cli.parse(["--data", "corpus=a=b.txt", "--data", f"words={tmp_path}"])
    assert found.data == {"corpus": str(tmp_path / "a=b.txt"), "words": str(tmp_path)}


@pytest.mark.parametrize("given", ["corpus", "=/a", "corpus=", "corpus=/no/where", "corpus=~no1/a"])
def test_files_for_slots_must_be_there(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(["--data", given])
    assert caught.value.code == 2
    assert "--data" in capsys.readouterr().err


OVERRIDES = [
    (["--alerts", "silent,hot", "--alert-lab", "*"], {"alerts": "silent,hot", "alert_lab": "*"}),
    (
        ["--alert-urls", "json://host", "--alert-quiet", "22:00-07:00"],
        {"alert_urls": "json://host", "alert_quiet": "22:00-07:00"},
    ),
    (
        ["--alert-temperature", "80", "--alert-disk", "0.5"],
        {"alert_temperature": 80, "alert_disk": 0.5},
    ),
    (["--device", "cuda:0"], {"device": "cuda:0"}),
    (["--threads", "2"], {"threads": 2}),
    (["--theme", "dark"], {"theme": "dark"}),
    (["--language", "zh_CN"], {"language": "zh_CN"}),
    (["--no-go-back"], {"go_back": False}),
    (["--close-to-tray"], {"close_to_tray": True}),
    (["--no-close-to-tray"], {"close_to_tray": False}),
    (["--notifications", "paused"], {"notifications": "paused"}),
    (["--dht-port", "0"], {"dht_port": 0}),
    (["--server-port", "9001"], {"server_port": 9001}),
    (["--initial-peers", "/a/b,/c/d"], {"initial_peers": "/a/b,/c/d"}),
    (["--reachability", "relay"], {"reachability": "relay"}),
    (["--announce", "a.example"], {"announce": "a.example"}),
    (["--trusted-relays", "/a/b"], {"trusted_relays": "/a/b"}),
    (["--snapshot-every", "20"], {"snapshot_every": 20}),
    (["--uplink", "12.5"], {"uplink": 12.5}),
    (["--energy-price", "0.35"], {"energy_price": 0.35}),
    (["--training-watts", "120"], {"training_watts": 120.0}),
    (["--currency", "CNY"], {"currency": "CNY"}),
    (["--hub-sign-in"], {"hub_sign_in": True}),
    (["--no-hub-sign-in"], {"hub_sign_in": False}),
    (["--tensorboard"], {"tensorboard": True}),
    (["--no-tensorboard"], {"tensorboard": False}),
    (["--tracker", "trackio"], {"tracker": "trackio"}),
    (["--tracker-python", "/usr/bin/python3"], {"tracker_python": "/usr/bin/python3"}),
    (["--report-interval", "30"], {"report_interval": 30}),
    (["--backend-url", "https://b.example"], {"backend_url": "https://b.example"}),
    (["--backend-plain-http"], {"backend_plain_http": True}),
    (["--no-backend-plain-http"], {"backend_plain_http": False}),
    (["--refill", "always"], {"refill": "always"}),
    (["--debug"], {"debug": True}),
    (["--update-url", "https://a.example/n"], {"update_url": "https://a.example/n"}),
    (["--update-key", "a"], {"update_key": "a"}),
    (["--no-record"], {"record": False}),
    (["--publish-machine"], {"publish_machine": True}),
    (["--no-publish-machine"], {"publish_machine": False}),
    (["--alias", "lab-01"], {"alias": "lab-01"}),
    (["--lab", "vision-lab"], {"lab": "vision-lab"}),
    (["--lab-key", "a"], {"lab_key": "a"}),
    (["--lab-commands"], {"lab_commands": True}),
    (["--no-lab-commands"], {"lab_commands": False}),
    (["--no-callback"], {"callback": False}),
    (["--callback-host", "0.0.0.0"], {"callback_host": "0.0.0.0"}),
    (["--callback-port", "0"], {"callback_port": 0}),
    (["--callback-allowed-hosts", "a,b"], {"callback_allowed_hosts": "a,b"}),
    (["--callback-origins", "https://a"], {"callback_origins": "https://a"}),
    (["--callback-certificate", "a.pem"], {"callback_certificate": "a.pem"}),
    (["--callback-key", "a.pem"], {"callback_key": "a.pem"}),
    (["--consent", "always"], {"consent": "always"}),
    (["--consent-backends", "::1"], {"consent_backends": "::1"}),
    (
        ["--term", "idle_minutes=10", "--term", "schedule=mon 8:00-9:00"],
        {"terms": {"idle_minutes": "10", "schedule": "mon 8:00-9:00"}},
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), OVERRIDES)
def test_setting_is_overridden_for_this_start(
    arguments: list[str], expected: dict[str, Any]
) -> None:
    assert cli.parse(arguments).overrides == expected


def test_every_setting_has_an_argument() -> None:
    assert {name for _, expected in OVERRIDES for name in expected} == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--demo", "--swarm", "a.cotrain"], "--swarm"),
        (["--demo", "a.cotrain"], "INVITE"),
        (["--swarm", "a.cotrain", "b.cotrain"], "INVITE"),
        (["--threads", "many"], "--threads"),
        (["--theme", "pink"], "--theme"),
        (["--no-such-thing"], "--no-such-thing"),
        (["verify"], "FILE"),
        (["sign", "a.cotrain", "--out", "b"], "--organiser"),
        (["members"], "list|add|remove"),
        (["members", "add"], "PEER_ID"),
        (["lab"], "ACTION"),
        (["lab", "pair"], "KEY"),
        (["lab", "start", "lab-01"], "--swarm"),
        (["lab", "set", "threads", "--swarm", "a"], "NAME=VALUE"),
        (["no-such-command"], "no-such-command"),
        (["--swarm"], "--swarm"),
        (["--term", "idle_minutes"], "NAME=VALUE"),
    ],
)
def test_mistake_is_named(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(arguments)
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(["--version"])
    assert (caught.value.code, capsys.readouterr().out.strip()) == (0, __version__)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"QT_QPA_PLATFORM": "offscreen"}, True),
    ],
)
def test_display_is_found(
    environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.has_display() is expected


def test_other_platforms_always_have_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    assert cli.has_display()
