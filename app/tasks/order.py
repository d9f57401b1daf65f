"""What a caller asks this machine to train: three dicts, from which a swarm's spec is made.

A missing value gets a default only where that doesn't change what is asked for, and each default
is named in the task's log. Model and data are never guessed.
"""

import hashlib
import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any

from app.spec import schema as specs
from app.spec.schema import FileData, FileTokenizer, SwarmSpec

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

    @property
    def files(self) -> tuple[str, ...]:
        """Files of this machine that the training would read."""
        data = self.spec.data
        tokenizer = (data.tokenizer.path,) if isinstance(data.tokenizer, FileTokenizer) else ()
        return (*(data.paths if isinstance(data, FileData) else ()), *tokenizer)


def interpret(order: Order) -> Interpretation:
    """Make a spec of an order. Raises `SpecError`, which names the first wrong field."""
    params, assumed = _completed(order)
    content = {
        "run_id": _run_id(order),
        "title": f"Task {order.task_id}"[:200],
        **order.extra,
        "model_config": order.model_config,
        "training_params": params,
        "dataset_info": order.dataset_info,
    }
    return Interpretation(spec=specs.parse(content), assumed=assumed)


def _completed(order: Order) -> tuple[dict[str, Any], tuple[str, ...]]:
    contexts = [order.model_config.get(name) for name in _CONTEXT_FIELDS]
    longest = [length for length in contexts if isinstance(length, int) and length > 0]
    defaults = {
        "target_batch_size": TARGET_BATCH_SIZE,
        "sequence_length": min([SEQUENCE_LENGTH, *longest]),
    }
    missing = {name: value for name, value in defaults.items() if name not in order.training_params}
    said = [f"training_params.{name} is not given: using {missing[name]}" for name in missing]
    if not order.training_params.get("stop"):
        said.append(
            "training_params.stop is not given: training goes on until it is stopped,"
            " and its progress can't be told"
        )
    return missing | order.training_params, tuple(said)


def _run_id(order: Order) -> str:
    """A hash of the task: machines with the same task meet in one run, and a restart resumes it."""
    parts = [order.task_id, order.model_config, order.training_params, order.dataset_info]
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"task-{hashlib.sha256(canonical.encode()).hexdigest()[:20]}"
