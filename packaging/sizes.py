"""What the packaged app takes, on the disk and to download, and which part takes how much."""

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "cotrain-contributor"
BUILT = ROOT / "dist" / NAME
DOWNLOADS = (".tar.xz", ".deb", ".AppImage")

UNPACKED, COMPRESSED = 750, 260
"""What the folder and each download may take (MB, of a million bytes)."""

LISTED = 14


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; a link takes nothing."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def parts(folder: Path) -> Counter[str]:
    """Bytes by library; the program itself holds the modules of all, compressed."""
    found: Counter[str] = Counter()
    for path in folder.iterdir():
        if path.name != "_internal":
            found["the program, with all Python modules"] += size(path)
    for path in (folder / "_internal").iterdir():
        name = path.name.partition(".")[0] if path.is_dir() else "Python and the system's libraries"
        found[name.partition("-")[0]] += size(path)
    return found


def row(what: str, taken: float, note: str = "") -> None:
    """Print a row of the table."""
    print(f"| {what:<44} | {taken / 1e6:>8.1f} MB | {note} |")


def main() -> int:
    """Print the table; 1 where something is larger than it is meant to be."""
    found = parts(BUILT)
    for name, taken in found.most_common(LISTED):
        row(name, taken)
    row("all others", sum(taken for _, taken in found.most_common()[LISTED:]))
    totals = {"unpacked": (found.total(), UNPACKED)}
    for path in sorted((ROOT / "dist").iterdir()):
        if path.name.endswith(DOWNLOADS):
            totals[path.name] = (size(path), COMPRESSED)
    for name, (taken, most) in totals.items():
        row(name, taken, f"≤ {most} MB")
    return int(any(taken > most * 1e6 for taken, most in totals.values()))


if __name__ == "__main__":
    sys.exit(main())
