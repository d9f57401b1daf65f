"""What a caller asks this machine to train: three dicts, from which a swarm's spec is made.

A missing value gets a default only where that doesn't change what is asked for, and each default
is named in the task's log. Model and data are never guessed. A caller names no files of this
machine: the spec has slots, which the volunteer has filled.
"""

import hashlib
import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.common.errors import SpecError
from app.spec import filling
from app.spec import schema as specs
from app.spec.schema import SwarmSpec

OTHER_NAMES = {
    "epochs": "stop.epochs",
    "batch_size": "micro_batch_size",
    "learning_rate": "optimizer.learning_rate",
}
"""Parameters as the CoTrain web page names them, and where a spec has them."""

TARGET_BATCH_SIZE = 256
SEQUENCE_LENGTH = 128
_CONTEXT_FIELDS = ("n_positions", "max_position_embeddings")
"""The model types' names for the longest sequence that they can read."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A task as the caller sent it."""

    model_config: dict[str, Any]
    training_params: dict[str, Any]
    dataset_info: dict[str, Any]
    user_id: str
    """The caller's own text; not verified."""
    task_id: str
    """The caller's own text; not verified."""
    caller: str
    """IP address that the request came from."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further parts of a spec: ``run_id``, ``title``, ``initial_peers``, …"""

    @property
    def from_this_machine(self) -> bool:
        """The request came over loopback."""
        return ipaddress.ip_address(self.caller).is_loopback


@dataclass(frozen=True, kw_only=True)
class Interpretation:
    """The spec that was made of an order."""

    spec: SwarmSpec
    assumed: tuple[str, ...]
    """The defaults that were used, as lines for the task's log."""

    files: tuple[str, ...] = ()
    """Files and folders of this machine that the training would read."""


def _no_files(_run_id: str) -> Mapping[str, Path]:
    return {}


def interpret(
    order: Order, *, files_of: Callable[[str], Mapping[str, Path]] = _no_files
) -> Interpretation:
    """Make a spec of an order.

    files_of: from a run id to what the volunteer has chosen for its slots, by label.

    Raises `SpecError`, which holds each wrong field by the caller's name of it; also for paths, and
    for a slot that the volunteer hasn't filled.
    """
    params, assumed = _completed(order)
    model, extra = dict(order.model_config), dict(order.extra)
    if "pretrained" in model and "pretrained" not in extra:  # the backend passes three dicts on
        extra["pretrained"] = model.pop("pretrained")
        assumed = ("model_config.pretrained is taken as pretrained", *assumed)
    content = {
        "run_id": _run_id(order),
        "title": f"Task {order.task_id}"[:200],
        **extra,
        "model_config": model,
        "training_params": params,
        "dataset_info": order.dataset_info,
    }
    try:
        spec = specs.parse(content)
    except SpecError as error:
        raise _as_called(error, order.training_params) from None
    filling.refuse_paths(spec)
    files = files_of(spec.run_id)
    if (unfilled := filling.unfilled(spec, files)) is not None:
        raise unfilled
    used = tuple(str(files[place.slot.label]) for place in filling.places(spec))
    return Interpretation(spec=spec, assumed=assumed, files=used)


def _as_called(error: SpecError, params: dict[str, Any]) -> SpecError:
    """An error that names what is wrong as the caller has called it."""
    given, _said = _renamed(params)
    names = {
        f"training_params.{path}": f"training_params.{name}"
        for name, path in OTHER_NAMES.items()
        if name in params and name not in given
    }

    def named(one: SpecError) -> SpecError:
        return SpecError(one.message, field=names.get(one.field, one.field), remedy=one.remedy)

    found = named(error)
    found.all = tuple(map(named, error.all))
    return found


def _completed(order: Order) -> tuple[dict[str, Any], tuple[str, ...]]:
    contexts = [order.model_config.get(name) for name in _CONTEXT_FIELDS]
    longest = [length for length in contexts if isinstance(length, int) and length > 0]
    given, said = _renamed(order.training_params)
    defaults = {
        "target_batch_size": TARGET_BATCH_SIZE,
        "sequence_length": min([SEQUENCE_LENGTH, *longest]),
    }
    missing = {name: value for name, value in defaults.items() if name not in given}
    said += [f"training_params.{name} is not given: using {missing[name]}" for name in missing]
    if not given.get("stop"):
        said.append(
            "training_params.stop is not given: training goes on until it is stopped,"
            " and its progress can't be told"
        )
    return missing | given, tuple(said)


def _renamed(params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The parameters by the names of a spec, and what was renamed.

    A name stays as it is, to be refused, where the spec's own name is given too.
    """
    given, said = dict(params), []
    for name, path in OTHER_NAMES.items():
        part, _dot, key = path.partition(".")
        own = given.get(part, {})
        taken = (not isinstance(own, dict) or key in own) if key else part in given
        if name in given and not taken:
            value = given.pop(name)
            given[part] = {**own, key: value} if key else value
            said.append(f"training_params.{name} is taken as training_params.{path}")
    return given, said


def _run_id(order: Order) -> str:
    """A hash of the task: machines with the same task meet in one run, and a restart resumes it."""
    parts = [order.task_id, order.model_config, order.training_params, order.dataset_info]
    if "pretrained" in order.extra:
        parts.append(order.extra["pretrained"])
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"task-{hashlib.sha256(canonical.encode()).hexdigest()[:20]}"
