"""The systemd units: they start what they say, and systemd understands them."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from app import cli
from app.cli import Arguments

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
EACH_UNIT = pytest.mark.parametrize(
    "unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.stem
)


def values(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def started(name: str) -> Arguments:
    """The command line that a unit starts, its own variables put in."""
    unit = UNITS / f"{name}.service"
    (settings,) = values(unit, "Environment")
    variables = dict(each.split("=", 1) for each in settings.split())
    (command,) = values(unit, "ExecStart")
    program, *words = shlex.split(command)
    assert program == "/usr/bin/cotrain-contributor"
    return cli.parse(
        [re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], word) for word in words]
    )


def test_contributor_trains_headless_and_is_measured_at_a_fixed_port() -> None:
    arguments = started("cotrain-contributor")
    assert (arguments.headless, arguments.swarm) == (True, "%E/cotrain/swarm.cotrain")
    assert arguments.overrides == {"device": "auto", "alias": "", "callback_port": 9101}


def test_door_is_open_to_the_network_and_keeps_its_key() -> None:
    arguments = started("cotrain-door")
    assert (arguments.bootstrap, arguments.headless) == (True, True)
    assert arguments.swarm == "/etc/cotrain/swarm.cotrain"
    assert str(arguments.data_dir) == "%S/cotrain-door"
    assert arguments.overrides == {"callback_host": "0.0.0.0"}


@EACH_UNIT
def test_service_ends_in_order_and_gives_no_rights(unit: Path) -> None:
    assert values(unit, "KillMode") == ["mixed"]
    assert values(unit, "TimeoutStopSec") == ["60"]
    assert values(unit, "Restart") == ["on-failure"]
    assert values(unit, "NoNewPrivileges") == ["yes"]
    assert values(unit, "MemoryDenyWriteExecute") == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@EACH_UNIT
def test_systemd_understands_it(unit: Path, tmp_path: Path) -> None:
    installed = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8")
    installed.write_text(
        text.replace("/usr/bin/cotrain-contributor", "/bin/true"), encoding="utf-8"
    )
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(installed)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert unit.name not in result.stderr  # a warning about it
