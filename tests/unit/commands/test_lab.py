"""``lab``, from the command line to what is asked for."""

import pytest

from app import cli
from app.commands.lab import LabAsked


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("key", LabAsked(action="key")),
        ("pair abc --json", LabAsked(action="pair", key="abc", as_json=True)),
        ("unpair", LabAsked(action="unpair")),
        ("list --swarm a", LabAsked(action="list", swarm="a")),
        ("start x y --swarm a", LabAsked(action="start", swarm="a", machines=("x", "y"))),
        ("stop --all --swarm a", LabAsked(action="stop", swarm="a", everyone=True)),
        (
            "pause 30 x --swarm a",
            LabAsked(action="pause", swarm="a", minutes="30", machines=("x",)),
        ),
        (
            "set threads=2 x= --also schedule= --swarm a",
            LabAsked(
                action="set",
                swarm="a",
                values={"threads": "2", "schedule": ""},
                machines=("x=",),
            ),
        ),
        (
            "set threads=2 --swarm a x --wait 5 y",
            LabAsked(
                action="set", swarm="a", values={"threads": "2"}, machines=("x", "y"), wait=5.0
            ),
        ),
        (
            "move --swarm a b x",
            LabAsked(action="move", swarm="a", destination="b", machines=("x",)),
        ),
        (
            "move b x --swarm a",
            LabAsked(action="move", swarm="a", destination="b", machines=("x",)),
        ),
        (
            "export x --swarm a --wait 5",
            LabAsked(action="export", swarm="a", machines=("x",), wait=5.0),
        ),
    ],
)
def test_what_is_asked_for(words: str, asked: LabAsked) -> None:
    assert cli.parse(["lab", *words.split()]).command == asked


def test_it_is_headless_and_has_a_folder() -> None:
    parsed = cli.parse(["lab", "key", "--data-dir", "d"])
    assert parsed.headless
    assert str(parsed.data_dir) == "d"
