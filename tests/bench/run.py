"""`make bench`: measure what the README claims, each figure as a ratio in one run.

python tests/bench/run.py [startup] [stalls] [trainer] [machines] [lab] [devices] [callback]
[network] [evaluation] [curves] [strategies] [gpu]

Without a name all run but the last two: ``strategies`` takes hours, and ``gpu`` needs one. What
follows these are their own options: ``gpu --help`` names them. Parts are imported when they run,
since ``gpu`` has to run where little is installed.
"""

import sys
from collections.abc import Callable
from importlib import import_module

PARTS = {
    "startup": "window",
    "stalls": "window",
    "trainer": "trainer",
    "machines": "machines",
    "lab": "lab",
    "devices": "devices",
    "callback": "callback",
    "network": "network",
    "evaluation": "evaluation",
    "curves": "curves",
    "strategies": "strategies",
    "gpu": "gpu",
}
"""The module of each part."""

ALONE = ("strategies", "gpu")
"""Parts that run where they are named, and take options."""


def main() -> None:
    """Run the parts named on the command line."""
    words = sys.argv[1:] or [each for each in PARTS if each not in ALONE]
    place = next((place for place, word in enumerate(words) if word in ALONE), len(words))
    for name in words[:place]:
        _part(name)()
    if place < len(words):
        _part(words[place])(words[place + 1 :])


def _part(name: str) -> Callable[..., None]:
    found: Callable[..., None] = getattr(import_module(f"parts.{PARTS[name]}"), name)
    return found


if __name__ == "__main__":
    main()
