"""The file in an exported folder that says that this app wrote it, and what belongs to it."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from app import __version__
from app.common.paths import read_json

MARKER = "cotrain-export.json"
_FORMAT = "cotrain-export/1"
_MAX_BYTES = 2**20


def write_marker(folder: Path, *, run_id: str, epoch: int) -> int:
    """Write it as the last file, with all files on the disk; returns the bytes of all files.

    epoch: that the weights are of. Raises `OSError`.
    """
    sizes = {
        str(path.relative_to(folder)): _synced(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = {
        "format": _FORMAT,
        "app": __version__,
        "run_id": run_id,
        "epoch": epoch,
        "files": sizes,
    }
    marker = folder / MARKER
    marker.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return sum(sizes.values()) + _synced(marker)


def _synced(path: Path) -> int:
    """Bring a file from memory to the disk; returns its size in bytes."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        return os.fstat(stream.fileno()).st_size


def files_of(folder: Path) -> list[Path] | None:
    """The files of an exported folder; None if something in it isn't what this app wrote."""
    try:
        content: Any = read_json(folder / MARKER, most=_MAX_BYTES)
        found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return None
    files = {name: each.st_size for name, each in found.items() if stat.S_ISREG(each.st_mode)}
    folders = {str(above) for name in files for above in Path(name).parents} - {"."}
    del files[MARKER]
    if content.get("files") != files or found.keys() != {MARKER, *files, *folders}:
        return None
    return [folder / MARKER, *(folder / name for name in files)]
