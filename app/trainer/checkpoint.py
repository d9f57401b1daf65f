"""Checkpoints on this machine: written atomically, read without running pickled code."""

import hashlib
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from app.common.paths import WATCHED
from app.evaluation_messages import Evaluated
from app.spec.schema import SwarmSpec
from app.takeout import run_file
from app.takeout.identity import fingerprint_of, identity_of
from app.takeout.run_file import CHECKPOINT_NAME
from app.trainer.confinement.memory import is_for_memory

log = logging.getLogger(__name__)

KEPT = 2
"""How many checkpoints of a run stay: one more than needed, in case the newest is damaged."""

_UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, TypeError, AttributeError)
"""What torch raises for a file of another layout, and this module as well."""

_ASIDE = "before-"
"""Begins the name of a checkpoint that was set aside."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that resuming needs."""

    epoch: int
    """Target batches that the model has seen."""

    position: int
    """Samples drawn from the data so far."""

    model: dict[str, torch.Tensor]
    """The model's `state_dict`: its weights by name."""

    optimizer: dict[str, Any]
    """The `state_dict` of the strategy."""


class NotFiniteError(ValueError):
    """A state that holds values which aren't finite, which no checkpoint may hold."""


class CheckpointFolder:
    """The checkpoints of one run. Those of another swarm under the same run id are left alone."""

    def __init__(self, folder: Path, spec: SwarmSpec) -> None:
        self.path = folder
        self._spec = spec
        self._model = fingerprint_of(spec)
        self._run = identity_of(spec)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then delete all but the newest `KEPT`.

        Raises `OSError`, and `NotFiniteError` for one that must not be kept.
        """
        _refuse_what_is_not_finite([checkpoint.model, checkpoint.optimizer])
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        run_file.write(self.path, self._run, self._spec)
        temporary = self.path / "new.tmp"  # always the same name: a killed save leaves one file
        try:
            digest = self._write(checkpoint, temporary)
        except OSError:
            temporary.unlink(missing_ok=True)  # others may need the room
            raise
        name = f"epoch-{checkpoint.epoch:09d}-{self._run}-{digest}.pt"
        temporary.replace(self.path / name)
        for old in self._newest_first()[KEPT:]:
            old.unlink()

    def note_evaluation(self, evaluation: Evaluated) -> None:
        """Keep this machine's newest evaluation beside the checkpoints. Raises `OSError`."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        run_file.write(self.path, self._run, self._spec, evaluation)

    def evaluation(self) -> Evaluated | None:
        """What `note_evaluation` kept."""
        known = run_file.read(run_file.path_of(self.path, self._run))
        return known.evaluation if known is not None else None

    def _write(self, checkpoint: Checkpoint, path: Path) -> str:
        """Returns the digest of what was written."""
        with path.open("wb") as stream:
            hashing: Any = _HashingWriter(stream)  # torch only writes to it
            try:
                torch.save({"model_fingerprint": self._model} | vars(checkpoint), hashing)
            except RuntimeError as error:  # of torch, which can't end what it couldn't write
                raise (hashing.failure or error) from error
            stream.flush()
            os.fsync(stream.fileno())
        return str(hashing.digest)

    def load_newest(self) -> Checkpoint | None:
        """Read the newest sound checkpoint of this run; None when there is none.

        Damaged ones on the way are set aside, under the suffix ``.damaged``. What was kept by
        `set_aside` comes last.

        Raises `OSError` when there may be one and none can be read now, and whatever torch raises
        when the memory is short: neither is damage, and what would follow on "none" is a start from
        nothing.
        """
        unread: OSError | None = None
        for path in self.kept():
            try:
                checkpoint = self._read(path)
            except OSError as error:
                log.warning("checkpoint %s can't be read now and is passed over: %s", path, error)
                unread = OSError(error.errno, error.strerror, str(path))
                continue
            except (*_UNREADABLE, DamagedCheckpointError, NotFiniteError) as error:
                if is_for_memory(error):
                    raise
                log.warning("checkpoint %s is damaged and set aside: %s", path.name, error)
                self._set_damaged_aside(path)
                continue
            if checkpoint is not None:
                return checkpoint
            log.warning("checkpoint %s is of another model and is passed over", path)
        if unread is not None:
            raise unread
        return None

    def kept(self) -> list[Path]:
        """The checkpoints of this run, in the order in which one is to be taken."""
        return [*self._newest_first(), *self._newest_first(f"{_ASIDE}epoch-*.pt")]

    def look_into(self, path: Path) -> Checkpoint | None:
        """Read a checkpoint of this run beside the trainer, which may write meanwhile; None for
        one of another model.

        Changes nothing. Its tensors lie in the file until they are used, and only the model's are
        held against damage. Raises `DamagedCheckpointError`, or `FileNotFoundError` once it was
        deleted.
        """
        try:
            return self._read(path, lazily=True)
        except FileNotFoundError:
            raise
        except (*_UNREADABLE, NotFiniteError) as error:
            raise DamagedCheckpointError(str(error)) from error

    def set_aside(self) -> None:
        """Keep the newest checkpoint apart, and only this one: another peer's state has taken the
        place of ours, and will be in all that are written from now on."""
        newest = next(iter(self._newest_first()), None)
        if newest is None:
            return
        for old in self.path.glob(f"{_ASIDE}*.pt"):
            old.unlink()
        newest.replace(newest.with_name(f"{_ASIDE}{newest.name}"))

    def _read(self, path: Path, *, lazily: bool = False) -> Checkpoint | None:
        """None for a checkpoint of another model. lazily: see `look_into`."""
        digest = _parts(path)["digest"]
        if digest is not None and _digest_of(path) != digest:
            raise DamagedCheckpointError("its content has changed since it was written")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)
        found = content.pop("model_fingerprint", None)
        checkpoint = Checkpoint(**content)
        _refuse_what_is_not_finite(
            [checkpoint.model] if lazily else [checkpoint.model, checkpoint.optimizer]
        )
        return checkpoint if found == self._model else None

    def _set_damaged_aside(self, path: Path) -> None:
        for old in self.path.glob("*.damaged"):
            old.unlink()  # one is enough to look into, and each is as large as the model
        path.replace(path.with_suffix(".damaged"))

    def _newest_first(self, names: str = "epoch-*.pt") -> list[Path]:
        """The checkpoints of this run, and those that an app before 0.2 wrote."""
        found = [path for path in self.path.glob(names) if CHECKPOINT_NAME.fullmatch(path.name)]
        ours = [path for path in found if _parts(path)["run"] in (self._run, None)]
        return sorted(ours, key=lambda path: int(_parts(path)["epoch"] or 0), reverse=True)


def kept_in_order(folders: Sequence[Path], spec: SwarmSpec) -> list[tuple[CheckpointFolder, Path]]:
    """The checkpoints of a run in several trainers' folders, in the order in which one is to be
    taken: the newest first, and last those that were set aside for another peer's state, and those
    that were fetched before this machine last wrote one of its own.

    A fetched one has the epoch that others said, so its epoch alone can't be what ranks it.
    """
    opened = [CheckpointFolder(each, spec) for each in folders]
    kept = [(folder, path) for folder in opened for path in folder.kept()]
    trained = [_written_at(path) for folder, path in kept if folder.path.name != WATCHED]
    last = max(trained, default=0.0)

    def order(each: tuple[CheckpointFolder, Path]) -> tuple[bool, int]:
        folder, path = each
        outdated = folder.path.name == WATCHED and _written_at(path) < last
        return outdated or path.name.startswith(_ASIDE), -int(_parts(path)["epoch"] or 0)

    return sorted(kept, key=order)


def _written_at(path: Path) -> float:
    """In seconds since the epoch; 0 for a file that a trainer has deleted meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


class DamagedCheckpointError(Exception):
    """A file isn't what was written."""


class _HashingWriter:
    """Passes what is written on to a file, and hashes it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, content: bytes) -> int:
        """Write all of it."""
        self._hash.update(content)
        try:
            return self._stream.write(content)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """As a file's."""
        self._stream.flush()

    @property
    def digest(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()[:32]


def _digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def _parts(path: Path) -> dict[str, str | None]:
    found = CHECKPOINT_NAME.fullmatch(path.name)
    assert found is not None
    return found.groupdict()


def _refuse_what_is_not_finite(content: list[Any]) -> None:
    for tensor in _tensors_in(content):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NotFiniteError("it holds values that are not finite")


def _tensors_in(content: Any) -> Iterator[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict | list | tuple):
        for each in content.values() if isinstance(content, dict) else content:
            yield from _tensors_in(each)
