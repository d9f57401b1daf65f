"""The file beside the checkpoints of a run that says what they are of.

A checkpoint holds tensors alone. The trainer writes this file with them, so that the model can be
taken out later without the invite, also of a run that isn't among the recent ones, as the demo's.
"""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from app.common.errors import SpecError
from app.common.paths import read_json, write_atomically
from app.evaluation_messages import Evaluated
from app.spec.invite import read_own
from app.spec.schema import SwarmSpec
from app.spec.sources.data import FileData, sources_of, with_sources

CHECKPOINT_NAME = re.compile(
    r"(before-)?epoch-(?P<epoch>\d+)(-(?P<run>[0-9a-f]{12})-(?P<digest>[0-9a-f]{32}))?\.pt"
)
"""Of a checkpoint: its epoch, whose it is, and the digest of its content. Apps before 0.2 wrote the
epoch alone."""

MAX_BYTES = 2**18
"""Four times the largest spec; a larger file was not written by this app."""

FAR_FUTURE = 2**33
"""Seconds since the epoch; a later time is taken for damage."""


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What is known of the run besides its checkpoints."""

    spec: SwarmSpec
    """As the trainer has it, but with one path of each of our sources at most."""

    since: float
    """When this machine wrote the run's first checkpoint, in seconds since the epoch."""

    evaluation: Evaluated | None = None
    """This machine's newest one; its epoch may be another than that of a checkpoint."""


def path_of(folder: Path, run: str) -> Path:
    """Where the file of a run lies. run: the hash in the names of its checkpoints."""
    return folder / f"run-{run}.json"


def write(folder: Path, run: str, spec: SwarmSpec, evaluation: Evaluated | None = None) -> None:
    """Write the file of a run, unless it says the same already. Raises `OSError`.

    evaluation: None leaves the one that the file has.
    """
    path = path_of(folder, run)
    known = read(path)
    since = time.time() if known is None else known.since
    evaluation = evaluation or (known.evaluation if known is not None else None)
    new = RunFile(spec=_shortened(spec), since=since, evaluation=evaluation)
    if new == known:
        return
    content = {"version": 1, "since": since, "spec": new.spec.to_json()}
    if evaluation is not None:
        content["evaluation"] = msgspec.to_builtins(evaluation)
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def read(path: Path) -> RunFile | None:
    """The file of a run; None where there is none, or a damaged one."""
    try:
        content = read_json(path, most=MAX_BYTES)
    except (OSError, ValueError):
        return None
    match content:
        case {"since": int() | float() as since, "spec": dict() as fields} if (
            0 <= since < FAR_FUTURE
        ):
            try:
                spec = read_own(json.dumps(fields, ensure_ascii=False).encode(), name=path.name)
            except (SpecError, ValueError):
                return None
            evaluation = _evaluation_in(content.get("evaluation"))
            return RunFile(spec=spec, since=float(since), evaluation=evaluation)
    return None


def _evaluation_in(fields: Any) -> Evaluated | None:
    """None where there is none, as in files of older apps, or a damaged one."""
    try:
        return msgspec.convert(fields, Evaluated)
    except msgspec.ValidationError:
        return None


def _shortened(spec: SwarmSpec) -> SwarmSpec:
    """The spec with one path of each source of our data, which may have thousands.

    Not with a slot instead: a spec with paths is known to be ours, whose organiser's signature is
    of the one with slots.
    """
    shorter = {
        field: source.model_copy(update={"paths": source.paths[:1]})
        for field, source in sources_of(spec.data).items()
        if isinstance(source, FileData)
    }
    return spec.model_copy(update={"data": with_sources(spec.data, shorter)})
