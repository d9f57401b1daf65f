"""The runs of which this machine has checkpoints."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from app.common.errors import ExportError
from app.common.i18n import _
from app.common.paths import WATCHED, Folders
from app.spec.schema import SwarmSpec
from app.spec.sources.data import FileTokenizer, SlotTokenizer
from app.swarm.bindings import Bindings
from app.swarm.recents import Recents
from app.takeout import run_file
from app.takeout.run_file import CHECKPOINT_NAME, RunFile


@dataclass(frozen=True, kw_only=True)
class KeptRun:
    """A run whose model can be taken out."""

    spec: SwarmSpec

    folders: tuple[Path, ...]
    """With its checkpoints, one for each trainer of this machine."""

    epoch: int
    """Of the newest checkpoint."""

    saved_at: float
    """When the newest checkpoint was written, in seconds since the epoch."""

    since: float | None = None
    """When the first one was, if that is known."""

    @property
    def is_own(self) -> bool:
        """This machine has trained it, and not fetched it alone."""
        return any(folder.name != WATCHED for folder in self.folders)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What the files in one folder say of one run."""

    folder: Path
    epoch: int
    saved_at: float
    run: str
    """The hash in the checkpoints' names, "" for those of an app before 0.2."""


class KeptRuns:
    """Finds them in a data folder. Blocks on the disk: call it in a thread.

    recents: swarms that were joined before, for checkpoints without a run file. bindings: the files
    that fill slots.
    """

    def __init__(
        self, folders: Folders, *, recents: Iterable[SwarmSpec], bindings: Bindings
    ) -> None:
        self.recents = tuple(recents)
        self._root = folders.checkpoints("")
        self._bindings = bindings

    @classmethod
    async def of(cls, folders: Folders) -> "KeptRuns":
        """With what the data folder knows of recent swarms and of slots."""
        bindings = Bindings(folders.slots_file)
        await bindings.open()
        recents = await Recents(folders.recents_file).load()
        return cls(folders, recents=[each.spec for each in recents], bindings=bindings)

    def all(self) -> list[KeptRun]:
        """All of them, the one that trained last first."""
        runs = [run for folder in _folders_in(self._root) for run in self._in_run_folder(folder)]
        return sorted(runs, key=lambda run: run.saved_at, reverse=True)

    def newest(self) -> KeptRun:
        """The one that trained last. Raises `ExportError` if there is none."""
        if runs := self.all():
            return runs[0]
        raise ExportError(
            _("there is no checkpoint on this machine yet."),
            field=str(self._root),
            remedy=_("Train first, or name another data folder with --data-dir."),
        )

    def has(self, spec: SwarmSpec) -> bool:
        """Whether there is a checkpoint of a swarm's run."""
        return any(map(_found_in, _folders_in(self._root / spec.run_id)))

    def of_swarm(self, spec: SwarmSpec) -> KeptRun:
        """The run of a swarm. Raises `ExportError` without a checkpoint of it."""
        folder = self._root / spec.run_id
        known = [run for run in self._in_run_folder(folder) if _is_same(run.spec, spec)]
        if known:
            return max(known, key=lambda run: run.saved_at)
        return self._taken_for(spec, list(_folders_in(folder)), at=folder)

    def in_folder(self, folder: Path, spec: SwarmSpec | None = None) -> KeptRun:
        """The run in a folder with checkpoints, or in one with such folders.

        spec: of the run; None for what the folder says itself. Raises `ExportError`.
        """
        folder = self._resolved(folder)
        inner = list(_folders_in(folder))
        places = [each for each in (folder, *inner) if any(_checkpoints(each))]
        if spec is not None:
            return self._taken_for(spec, places, at=folder)
        runs = self._merged(places, name=folder.name if inner else folder.parent.name)
        if runs:
            return max(runs, key=lambda run: run.saved_at)
        if places:
            raise ExportError(
                _("nothing here says which run these checkpoints are of."),
                field=str(folder),
                remedy=_("Give the run's invite as well, with --swarm."),
            )
        raise _nothing_in(folder)

    def _resolved(self, folder: Path) -> Path:
        """A relative path may begin here or in the data folder."""
        folder = folder.expanduser()
        inside = self._root.parent / folder
        return (folder if folder.exists() or not inside.exists() else inside).absolute()

    def _taken_for(self, spec: SwarmSpec, places: Iterable[Path], *, at: Path) -> KeptRun:
        """The checkpoints in folders, of a run whose spec is given."""
        found = [each for place in places for each in _found_in(place)]
        if not found:
            raise _nothing_in(at)
        return _run_of(self._filled(spec), found, since=None)

    def _in_run_folder(self, folder: Path) -> list[KeptRun]:
        return self._merged(list(_folders_in(folder)), name=folder.name)

    def _merged(self, places: Iterable[Path], *, name: str) -> list[KeptRun]:
        """The runs whose spec is known. name: their run id, for checkpoints without a file."""
        by_run: dict[str, list[_Found]] = {}
        for place in places:
            for found in _found_in(place):
                by_run.setdefault(found.run, []).append(found)
        runs = []
        for run, found_ones in by_run.items():
            known = _file_of(run, found_ones)
            spec = known.spec if known is not None else self._recent(name)
            if spec is not None:
                since = known.since if known is not None else None
                runs.append(_run_of(self._filled(spec), found_ones, since=since))
        return runs

    def _recent(self, run_id: str) -> SwarmSpec | None:
        return next((spec for spec in self.recents if spec.run_id == run_id), None)

    def _filled(self, spec: SwarmSpec) -> SwarmSpec:
        """The spec with the file of this machine in its tokenizer's slot, if that is known."""
        slot = spec.data.tokenizer
        path = self._bindings.of(spec.run_id).get(getattr(slot, "label", ""))
        if not isinstance(slot, SlotTokenizer) or path is None:
            return spec
        filled = FileTokenizer(kind="file", path=str(path))
        data = spec.data.model_copy(update={"tokenizer": filled})
        return spec.model_copy(update={"data": data})


def _run_of(spec: SwarmSpec, found: list[_Found], *, since: float | None) -> KeptRun:
    return KeptRun(
        spec=spec,
        folders=tuple(dict.fromkeys(each.folder for each in found)),
        epoch=max(each.epoch for each in found),
        saved_at=max(each.saved_at for each in found),
        since=since,
    )


def _file_of(run: str, found: Iterable[_Found]) -> RunFile | None:
    files = (run_file.read(run_file.path_of(each.folder, run)) for each in found if run)
    return next((known for known in files if known is not None), None)


def _is_same(one: SwarmSpec, other: SwarmSpec) -> bool:
    """Whether two specs may be of one run: the tensors, and whose it is."""
    keys = [each.organiser.key if each.organiser else "" for each in (one, other)]
    return (one.run_id, one.model, keys[0]) == (other.run_id, other.model, keys[1])


# --- the disk


def _folders_in(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:  # no such folder, or none that may be read
        return


def _checkpoints(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*epoch-*.pt") if CHECKPOINT_NAME.fullmatch(path.name))


def _found_in(folder: Path) -> list[_Found]:
    """One for each run of which the folder has checkpoints."""
    newest: dict[str, _Found] = {}
    for path in _checkpoints(folder):
        name = CHECKPOINT_NAME.fullmatch(path.name)
        assert name is not None
        try:
            saved_at = path.stat().st_mtime
        except OSError:  # a trainer has deleted it meanwhile
            continue
        run, epoch = name["run"] or "", int(name["epoch"])
        known = newest.get(run, _Found(folder=folder, epoch=epoch, saved_at=saved_at, run=run))
        newest[run] = replace(
            known, epoch=max(epoch, known.epoch), saved_at=max(saved_at, known.saved_at)
        )
    return list(newest.values())


def _nothing_in(folder: Path) -> ExportError:
    return ExportError(
        _("there is no checkpoint here."),
        field=str(folder),
        remedy=_("Choose a folder with epoch-….pt files, such as checkpoints/RUN/trainer."),
    )
