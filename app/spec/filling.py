"""What a spec reads of this machine: paths in our own specs, slots in those of others.

An invite never carries a path. Ours are replaced by slots before a spec is shared, and a spec of
somebody else that has one is refused. Each volunteer fills the slots with files of his own, and
the trainer is given the filled spec.
"""

import functools
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from app.common.errors import DataError, InviteError, SpecError
from app.common.i18n import _
from app.common.paths import status_of_regular
from app.spec.schema import SwarmSpec
from app.spec.slots import Slot
from app.spec.sources.data import (
    DataSpec,
    FileData,
    FileTokenizer,
    SlotData,
    SlotTokenizer,
    sources_of,
    with_sources,
)

MOST_FILES = 10_000
"""Files in a folder that fills a slot; as many as a spec may name."""

MOST_FOLDERS = 10_000
"""Folders that are searched for them."""

DATA_LABEL, TOKENIZER_LABEL = "data", "tokenizer"
"""Labels of the slots that replace our own paths."""

_HASHING = threading.Lock()
"""A reading that nobody waits for any more goes on in its thread; a later one of the same file then
waits for its hash, instead of reading the file beside it."""

_MOST_HASHED = 256 * 2**20
"""Bytes of a tokenizer of ours whose hash is passed on; one takes tens of megabytes at most."""


@dataclass(frozen=True, kw_only=True)
class SlotPlace:
    """A slot, and the field of the spec that it stands in."""

    field: str
    slot: Slot

    one_file: bool
    """A folder won't do."""


def places(spec: SwarmSpec) -> tuple[SlotPlace, ...]:
    """All slots of a spec, the data's first."""
    tokenizer = spec.data.tokenizer
    found = [
        SlotPlace(field=f"{field}.label", slot=source, one_file=source.sha256 is not None)
        for field, source in sources_of(spec.data).items()
        if isinstance(source, SlotData)
    ]
    if isinstance(tokenizer, SlotTokenizer):
        field = "dataset_info.tokenizer.label"
        found.append(SlotPlace(field=field, slot=tokenizer, one_file=True))
    return tuple(found)


# --- paths


def paths(spec: SwarmSpec) -> dict[str, tuple[str, ...]]:
    """The paths that a spec names, by the field that names them."""
    found = {
        f"{field}.paths": source.paths
        for field, source in sources_of(spec.data).items()
        if isinstance(source, FileData)
    }
    if isinstance(spec.data.tokenizer, FileTokenizer):
        found["dataset_info.tokenizer.path"] = (spec.data.tokenizer.path,)
    return found


def refuse_paths(spec: SwarmSpec, *, own: Iterable[SwarmSpec] = ()) -> None:
    """Refuse a spec from elsewhere that names paths of this machine. Raises `InviteError`.

    own: specs of this machine. An invite that an earlier version made of one of them names its
    paths, and may; it is not signed.
    """
    found = paths(spec)
    old = [each for each in own if each.run_id == spec.run_id and spec.organiser is None]
    if not found or any(paths(each) == found for each in old):
        return
    raise InviteError(
        _("names files of this machine, which a spec from elsewhere may not do."),
        field=next(iter(found)),
        remedy=_(
            "Ask for an invite that a newer version of the app made. If you wrote the spec"
            " yourself, give it a slot instead, and the files with --data LABEL=PATH."
        ),
    )


def emptied(spec: SwarmSpec) -> SwarmSpec:
    """The spec with slots instead of our own paths, for others."""
    data = spec.data
    tokenizer = data.tokenizer
    if isinstance(tokenizer, FileTokenizer):
        data = data.model_copy(update={"tokenizer": _slot_for(tokenizer)})
    labels = _new_labels(data)
    slots = {
        field: SlotData(
            source="slot",
            label=next(labels),
            format=source.format,
            text_field=source.text_field,
            tokenizer=source.tokenizer,
            held_out=source.held_out,
        )
        for field, source in sources_of(data).items()
        if isinstance(source, FileData)
    }
    data = with_sources(data, slots) if slots else data
    return spec if data is spec.data else spec.model_copy(update={"data": data})


def _new_labels(data: DataSpec) -> Iterator[str]:
    """Labels for the slots that replace our paths: ``data``, ``data-2``, but none that is taken."""
    slots = (*sources_of(data).values(), data.tokenizer)
    taken = {each.label for each in slots if isinstance(each, Slot)}
    names = (DATA_LABEL, *(f"{DATA_LABEL}-{number}" for number in range(2, 100)))
    return (name for name in names if name not in taken)


def _slot_for(tokenizer: FileTokenizer) -> SlotTokenizer:
    """With the file's hash if it can be read: peers with two tokenizers would train two models."""
    try:
        path = Path(tokenizer.path).expanduser()
        found = status_of_regular(path)
        known = found.st_size <= _MOST_HASHED
        digest = _hash_of(path, found.st_size, found.st_mtime_ns) if known else None
    except (OSError, ValueError, RuntimeError):  # a NUL in the path, an unknown ~user
        return SlotTokenizer(kind="slot", label=TOKENIZER_LABEL)
    size = found.st_size if known else None
    return SlotTokenizer(kind="slot", label=TOKENIZER_LABEL, sha256=digest, bytes=size)


# --- filling


def unfilled(spec: SwarmSpec, files: Mapping[str, Path]) -> SpecError | None:
    """The error for the first slot that has no file or folder; None when all have one.

    files: what fills the slots, by label.
    """
    for place in places(spec):
        if place.slot.label not in files:
            return SpecError(
                _("the slot {label} is empty: it needs a file or folder of this machine.").format(
                    label=place.slot.label
                ),
                field=place.field,
                remedy=_(
                    "Choose one where the swarm is shown before you join, or give"
                    " --data {label}=PATH."
                ).format(label=place.slot.label),
            )
    return None


def filled(spec: SwarmSpec, files: Mapping[str, Path]) -> SwarmSpec:
    """The spec with the files of this machine in its slots, for the trainer.

    files: what fills the slots, by label. Reads folders, and a whole file whose hash matters, so
    it may take minutes.

    Raises `SpecError` for a slot without a file, and `DataError` for one with another file than
    the spec asks for.
    """
    if (error := unfilled(spec, files)) is not None:
        raise error
    data = spec.data
    tokenizer = data.tokenizer
    if isinstance(tokenizer, SlotTokenizer):
        (path,) = listed(tokenizer, files[tokenizer.label], one_file=True)
        file = FileTokenizer(kind="file", path=str(path))
        data = data.model_copy(update={"tokenizer": file})
    read = {
        field: FileData(
            source="files",
            paths=tuple(map(str, listed(source, files[source.label]))),
            format=source.format,
            text_field=source.text_field,
            tokenizer=source.tokenizer,
            held_out=source.held_out,
        )
        for field, source in sources_of(data).items()
        if isinstance(source, SlotData)
    }
    data = with_sources(data, read) if read else data
    return spec if data is spec.data else spec.model_copy(update={"data": data})


def listed(slot: Slot, path: Path, *, one_file: bool = False) -> tuple[Path, ...]:
    """The files that a path puts into a slot, in the order of their names.

    one_file: a folder won't do. Raises `DataError` when the path doesn't fit the slot.
    """
    try:
        files = _files_below(path, slot)
        size = total_size(files)
        if slot.bytes is not None and size != slot.bytes:
            _refuse(
                slot,
                _("{path} has {size:,} bytes instead of {wanted:,}.").format(
                    path=path, size=size, wanted=slot.bytes
                ),
            )
        if (one_file or slot.sha256 is not None) and files != (path,):
            _refuse(slot, _("{path} is no file.").format(path=path))
        if slot.sha256 is not None:
            _check_hash(slot, path)
    except OSError as error:
        _refuse(
            slot,
            _("{path} can't be read: {reason}.").format(path=path, reason=error.strerror or error),
        )
    return files


def total_size(files: Iterable[Path]) -> int:
    """Bytes of all files together. Raises `OSError`."""
    return sum(file.stat().st_size for file in files)


def _files_below(path: Path, slot: Slot) -> tuple[Path, ...]:
    """The path itself, or the ordinary files of a folder; hidden ones are no data."""
    if not path.is_dir():
        status_of_regular(path)  # reading a device or a pipe could last for ever
        return (path,)
    found: list[Path] = []
    for count, (folder, folders, names) in enumerate(os.walk(path)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
        found += [file for file in inside if file.is_file()]
        if len(found) > MOST_FILES or count > MOST_FOLDERS:
            text = _("{path} holds more than {count:,} files or folders.")
            _refuse(slot, text.format(path=path, count=MOST_FILES))
    if not found:
        _refuse(slot, _("{path} holds no file.").format(path=path))
    return tuple(found)


def _check_hash(slot: Slot, path: Path) -> None:
    known = path.stat()
    with _HASHING:
        found = _hash_of(path, known.st_size, known.st_mtime_ns)
    if found != slot.sha256:
        _refuse(slot, _("{path} is not the file that all peers have.").format(path=path))


@functools.lru_cache(maxsize=64)
def _hash_of(path: Path, _size: int, _modified: int) -> str:
    """The SHA-256 of a file; read once more when its size or time has changed."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse(slot: Slot, message: str) -> NoReturn:
    raise DataError(
        message,
        field=slot.label,
        remedy=_("Choose another one for the slot {label}.").format(label=slot.label),
    )
