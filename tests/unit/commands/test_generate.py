"""The arguments of ``generate``."""

import pytest

from app import cli, generation_messages
from app.commands import generate
from app.commands.generate import GenerateCommand


def parsed(*arguments: str) -> GenerateCommand | None:
    return cli.parse(("generate", "--swarm", "run.cotrain", *arguments)).command


def test_what_is_left_away_is_usual() -> None:
    assert parsed() == GenerateCommand(swarm="run.cotrain")


def test_everything_can_be_said() -> None:
    assert parsed("--prompt", "a b", "--temperature", "0", "--tokens", "7") == GenerateCommand(
        swarm="run.cotrain", prompt="a b", temperature=0, tokens=7
    )


@pytest.mark.parametrize(
    "wrong",
    [
        ("--temperature", "-1"),
        ("--temperature", "2.1"),
        ("--temperature", "nan"),
        ("--tokens", "0"),
        ("--tokens", "1001"),
        ("--tokens", "many"),
    ],
    ids=" ".join,
)
def test_what_can_t_be_is_refused(
    wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(*wrong)
    assert wrong[0] in capsys.readouterr().err


def test_the_bounds_are_those_of_the_messages() -> None:
    assert generate.MOST_TEMPERATURE == generation_messages.MOST_TEMPERATURE
    assert generate.MOST_TOKENS == generation_messages.MOST_TOKENS
