"""`make bench`: measure what the README claims, each figure as a ratio in one run.

python tests/bench/run.py [startup] [stalls] [trainer] [machines] [devices] [callback] [network]
[evaluation] [curves] [gpu]

Without a name all but ``gpu`` run, which needs one. What follows ``gpu`` are its own options:
``gpu --help`` names them. Parts are imported when they
run, since ``gpu`` has to run where little is installed.
"""

import sys
from importlib import import_module

PARTS = {
    "startup": "window",
    "stalls": "window",
    "trainer": "trainer",
    "machines": "machines",
    "devices": "devices",
    "callback": "callback",
    "network": "network",
    "evaluation": "evaluation",
    "curves": "curves",
    "gpu": "gpu",
}
"""The module of each part."""


def main() -> None:
    """Run the parts named on the command line."""
    names, options = sys.argv[1:] or [each for each in PARTS if each != "gpu"], list[str]()
    if "gpu" in names:
        place = 1 + names.index("gpu")
        names, options = names[:place], names[place:]
    for name in names:
        run = getattr(import_module(f"parts.{PARTS[name]}"), name)
        if name == "gpu":
            run(options)
        else:
            run()


if __name__ == "__main__":
    main()
