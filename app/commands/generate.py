"""``generate``: let the model of a swarm write a text."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from app.commands.values import add_data_dir

MOST_TEMPERATURE, MOST_TOKENS = 2.0, 1000
"""As in `app.generation_messages`."""


@dataclass(frozen=True, kw_only=True)
class GenerateCommand:
    """Which model is to write what."""

    swarm: str
    """A file or link of the run's invite."""

    prompt: str = ""
    """How the text begins."""

    temperature: float = 0.8
    tokens: int = 200
    """How many to write at most."""

    fetch: bool = False
    """Fetch the swarm's newest weights first, though this machine has some."""


def add_generate(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``generate``."""
    parser.set_defaults(command_of=generate_of)
    parser.add_argument(
        "--swarm", dest="of_model", required=True, metavar="INVITE", help="the model's swarm"
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="how the text begins")
    parser.add_argument(
        "--temperature",
        type=_between(float, 0, MOST_TEMPERATURE),
        default=GenerateCommand.temperature,
        metavar="NUMBER",
        help=f"0 (always the likeliest token) to {MOST_TEMPERATURE:g} (wild)",
    )
    parser.add_argument(
        "--tokens",
        type=_between(int, 1, MOST_TOKENS),
        default=GenerateCommand.tokens,
        metavar="NUMBER",
        help=f"how many to write at most, up to {MOST_TOKENS}",
    )
    parser.add_argument(
        "--fetch",
        action="store_true",
        help="fetch the swarm's newest weights first; where there are none yet, it does so anyway",
    )
    add_data_dir(parser, what="the data folder of the app that trained")


def generate_of(options: argparse.Namespace) -> GenerateCommand:
    """What was asked for, from the parsed command line."""
    return GenerateCommand(
        swarm=options.of_model,
        prompt=options.prompt,
        temperature=options.temperature,
        tokens=options.tokens,
        fetch=options.fetch,
    )


def _between(kind: type, least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value: float = kind(text)  # argparse catches the ValueError
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least:g} to {most:g}")
        return value

    return number
