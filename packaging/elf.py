"""What Linux's programs and libraries are linked to."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

_FILE = re.compile(r"^File: (.+)$")
_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")


def is_elf(path: Path) -> bool:
    """Whether a file is a program or library at all."""
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def links(paths: Iterable[Path]) -> dict[Path, set[str]]:
    """The names of the libraries that each file asks for. One call for all: starting `readelf`
    for each of a thousand files takes longer than it reads them."""
    files = sorted({path for path in paths if is_elf(path)})
    command = ["readelf", "--dynamic", "--wide", *map(str, files)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[Path, set[str]] = {path: set() for path in files}
    current = files[0] if files else Path()  # a single file isn't named
    for line in output.splitlines():
        if named := _FILE.match(line):
            current = Path(named[1])
        elif needed := _NEEDED.search(line):
            found[current].add(needed[1])
    return found
