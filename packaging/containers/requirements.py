"""Prints the libraries that the app needs without its window, from the ``pyproject.toml`` beside
this file, a line each; with the name of an extra, those of the extra."""

import re
import sys
import tomllib
from pathlib import Path

WINDOW = {"pyside6-essentials", "pyqtgraph", "qasync"}
"""Only ``ui/`` imports them (house rule 1), and they are 200 MB."""


def requirements(project: dict[str, object], extra: str = "") -> list[str]:
    """Requirements as pip reads them, in the order of the file."""
    listed = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [each for each in listed if re.match(r"[\w-]+", each)[0].lower() not in WINDOW]


if __name__ == "__main__":
    content = Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(requirements(tomllib.loads(content)["project"], *sys.argv[1:])))
