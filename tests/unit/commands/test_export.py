"""The arguments of ``export``."""

from pathlib import Path

import pytest

from app import cli
from app.commands.export import ExportCommand


def test_all_that_can_be_asked_for() -> None:
    parsed = cli.parse(
        [
            *("--data-dir", "/data", "export", "--swarm", "a.cotrain", "--checkpoint", "c"),
            *("--to", "out", "--overwrite", "--upload", "ada/tiny", "--public", "--json"),
        ]
    )
    assert parsed.command == ExportCommand(
        to=Path("out"),
        swarm="a.cotrain",
        checkpoint=Path("c"),
        overwrite=True,
        repository="ada/tiny",
        public=True,
        as_json=True,
    )
    assert (parsed.headless, parsed.swarm, parsed.data_dir) == (True, "", Path("/data"))


def test_the_shortest_form() -> None:
    assert cli.parse(["export", "--to", "out"]).command == ExportCommand(to=Path("out"))
    assert cli.parse(["--headless", "--demo"]).command is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("export",),
        ("export", "--to"),
        ("export", "--to", "out", "--upload", "tiny"),
        ("export", "--to", "out", "--upload", "ada/ti ny"),
        ("export", "--to", "out", "--upload", "../tiny"),
    ],
)
def test_mistakes_end_with_status_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(arguments)
    assert caught.value.code == 2
    assert "export" in capsys.readouterr().err
