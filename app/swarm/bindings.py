"""Which files and folders of this machine fill the slots of which run."""

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.paths import read_json, write_atomically

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

MOST_RUNS = 100
"""Runs that are kept; the ones filled longest ago are dropped."""

MAX_BYTES = 2**20
"""A larger file was not written by this app."""

Files = dict[str, Path]
"""Absolute paths by the slot's label."""


class Bindings:
    """What the user has chosen for slots, by run id and label. Kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._given: Files = {}
        self._chosen: dict[str, Files] = {}
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Read the file. One that can't be read counts as empty."""
        self._chosen = await asyncio.to_thread(_read, self._file) | self._chosen

    def give(self, files: Mapping[str, str]) -> None:
        """Fill slots with these labels in each run that this process joins."""
        self._given |= {label: _absolute(path) for label, path in files.items()}

    def choose(self, run_id: str, files: Mapping[str, str]) -> None:
        """Fill slots of a run, instead of what filled them before."""
        new = {label: _absolute(path) for label, path in files.items()}
        self._chosen[run_id] = self._chosen.pop(run_id, {}) | new

    def of(self, run_id: str) -> Files:
        """What fills the slots of a run; the command line wins over earlier choices."""
        return self._chosen.get(run_id, {}) | self._given

    def check(self, spec: "SwarmSpec") -> None:
        """Raises `SpecError` for a slot of the swarm without a file."""
        from app.spec import filling

        if (error := filling.unfilled(spec, self.of(spec.run_id))) is not None:
            raise error

    async def filled(self, spec: "SwarmSpec") -> "SwarmSpec":
        """The spec with files of this machine in its slots, which are remembered for later starts.

        May take minutes. Raises `SpecError` for a slot without a file, and `DataError` for one
        whose file doesn't fit.
        """
        from app.spec import filling

        labels = {place.slot.label for place in filling.places(spec)}
        if not labels:
            return spec
        files = {label: path for label, path in self.of(spec.run_id).items() if label in labels}
        filled = await asyncio.to_thread(filling.filled, spec, files)
        await self._keep(spec.run_id, files)
        return filled

    async def _keep(self, run_id: str, files: Files) -> None:
        self._chosen[run_id] = self._chosen.pop(run_id, {}) | files
        for oldest in tuple(self._chosen)[:-MOST_RUNS]:
            del self._chosen[oldest]
        content = {
            run: {label: str(path) for label, path in kept.items()}
            for run, kept in self._chosen.items()
        }
        raw = json.dumps(content, indent=1).encode()
        async with self._lock:
            try:
                await asyncio.to_thread(write_atomically, self._file, raw)
            except OSError as error:
                log.warning("what fills the slots can't be remembered: %s", error)


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _read(file: Path) -> dict[str, Files]:
    try:
        content = read_json(file, most=MAX_BYTES)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("%s can't be read: %s", file, error)
        return {}
    return _files_by_run(content)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _files_by_run(content: Any) -> dict[str, Files]:
    if not isinstance(content, dict):
        return {}
    return {
        run_id: {label: Path(path) for label, path in files.items() if _is_path(path)}
        for run_id, files in content.items()
        if isinstance(files, dict)
    }
