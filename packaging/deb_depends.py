"""Print the ``Depends`` of a .deb: the system's libraries that a built folder is linked to.

Qt and Python's extensions bring most of what they need along; the rest must be there: the C
library that is at least as new as the build machine's, graphics and X11.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import elf

_GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)\b")


def programs(folder: Path) -> Iterator[Path]:
    """The executables and libraries in a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and elf.is_elf(path):
            yield path


def glibc_version(folder: Path) -> str:
    """The oldest C library that all programs in a folder start with."""
    versions = {
        (int(major), int(minor))
        for path in programs(folder)
        for major, minor in _GLIBC.findall(path.read_bytes())
    }
    return ".".join(map(str, max(versions)))


def foreign_libraries(folder: Path) -> set[str]:
    """What programs in a folder are linked to and the folder doesn't have."""
    own = {path.name for path in folder.rglob("*.so*")}
    return set().union(*elf.links(programs(folder)).values()) - own


def package_of(library: str) -> str:
    """The Debian package that has a library; "" where none is installed."""
    owners = _output("dpkg-query", "-S", f"*/{library}").splitlines()
    names = {owner.partition(":")[0] for owner in owners if not owner.startswith("diversion ")}
    return min(names, default="")


def _output(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def main() -> None:
    """Print the field's value for the folder that the command line names."""
    folder = Path(sys.argv[1])
    found = {library: package_of(library) for library in foreign_libraries(folder)}
    if missing := sorted(name for name, package in found.items() if not package):
        print(f"depends: no package here has {', '.join(missing)}", file=sys.stderr)
    packages = sorted(set(found.values()) - {"", "libc6"})
    print(", ".join((f"libc6 (>= {glibc_version(folder)})", *packages)))


if __name__ == "__main__":
    main()
