"""The bodies of requests and answers. Docstrings of models are their descriptions in OpenAPI."""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
)

from app.tasks.task import Task, TaskStatus

MOST_LEVELS = 20
"""How deep the parts of a task may be nested."""


def _dated(value: Any) -> Any:
    """Refuse a number, which pydantic would take for seconds since the epoch."""
    if isinstance(value, str) and re.match(r"\d{4}-", value):
        return value
    raise ValueError("should be a time in ISO 8601 with its zone, such as 2026-11-26T17:00:00Z")


Moment = Annotated[AwareDatetime, BeforeValidator(_dated)]

Text = Annotated[str, Field(max_length=200)]


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what can't be written as JSON again (NaN, half a surrogate pair) or is too deep."""
    if _levels(value) > MOST_LEVELS:
        raise ValueError(f"is nested deeper than {MOST_LEVELS} levels")
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value


def _levels(value: Any) -> int:
    """How deep a value is nested; stops counting at one more than `MOST_LEVELS`."""
    deepest, level = 0, [value]
    while level and deepest <= MOST_LEVELS:
        deepest += 1
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return deepest


JsonObject = Annotated[dict[str, Any], AfterValidator(_plain)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


TRAIN_EXAMPLE: dict[str, JsonValue] = {
    "model_config": {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 64},
    "training_params": {
        "target_batch_size": 256,
        "sequence_length": 64,
        "optimizer": {"name": "adamw", "learning_rate": 0.001},
        "stop": {"epochs": 5},
    },
    "dataset_info": {"source": "builtin"},
    "user_id": "alice",
    "task_id": "42",
}


class TrainBody(_Body):
    """A task: the three parts of a swarm's spec, and the ids of its user and of the task.

    The other fields are optional.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={"examples": [TRAIN_EXAMPLE]},
    )

    # Not `model_config`, which is a name of pydantic's.
    model: JsonObject = Field(
        alias="model_config", description="A model type of transformers and its config fields."
    )
    training_params: JsonObject = Field(description="How to train, and when to stop.")
    dataset_info: JsonObject = Field(description="The source of the data, and its tokenizer.")
    user_id: Text
    task_id: Text
    run_id: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")
    title: Text | None = None
    initial_peers: list[Annotated[str, Field(max_length=500)]] | None = Field(None, max_length=64)
    local: bool | None = None
    session_id: int | None = Field(None, ge=0, lt=2**63)
    training_id: str | None = Field(None, max_length=64)
    pretrained: JsonObject | None = Field(
        None, description="Weights to begin with; may also stand in `model_config`."
    )

    def extra(self) -> dict[str, Any]:
        """The optional fields that were given."""
        names = (
            "run_id",
            "title",
            "initial_peers",
            "local",
            "session_id",
            "training_id",
            "pretrained",
        )
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ConnectBody(_Body):
    """A peer to connect to; `address` is a host name or an IP address."""

    peer_id: str = Field(min_length=1, max_length=200)
    address: str = Field(min_length=1, max_length=253)
    port: int = Field(ge=1, le=65535)


class _Success(BaseModel):
    status: Literal["success"] = "success"


class Health(BaseModel):
    """The app runs."""

    status: Literal["healthy"] = "healthy"
    service: Literal["hivemind"] = "hivemind"


class NodeIdentity(BaseModel):
    """Multiaddrs of the app's and of the trainer's peer, and the app's peer id."""

    dht_address: str
    server_address: str
    peer_id: str


class Started(_Success):
    """The node runs."""

    message: str
    data: NodeIdentity


class Stopped(_Success):
    """The node doesn't run."""

    message: str


class NodeStatus(BaseModel):
    """The node's status; `error` says why it doesn't run, if something is wrong."""

    status: Literal["running", "stopped", "error"]
    peer_id: str
    connected_peers: int
    dht_size: int
    error: str | None = None


class StatusReply(_Success):
    """The node's status."""

    data: NodeStatus


class EvaluationRecord(BaseModel):
    """An evaluation of the swarm's weights on held-out text; `loss` in nats per token, `time` in
    seconds since the epoch. `perplexity` is null where it is too large for a number."""

    epoch: int
    loss: float
    perplexity: float | None
    bits_per_byte: float
    time: float


class WrittenSample(BaseModel):
    """What the swarm's weights wrote after a prompt; `time` in seconds since the epoch."""

    epoch: int
    prompt: str
    text: str
    time: float


class EvaluationStatus(BaseModel):
    """The newest and the best evaluation of this machine, the mean loss of the swarm's trainers,
    and the newest samples, the newest last; null before there is any."""

    newest: EvaluationRecord | None
    best: EvaluationRecord | None
    swarm_held_out_loss: float | None
    samples: list[WrittenSample]


class EvaluationReply(_Success):
    """What the swarm's model has learnt."""

    data: EvaluationStatus


class Accepted(_Success):
    """A task was accepted; `task_id` is the app's id, to ask for the task's progress."""

    task_id: str


class Peer(BaseModel):
    """A connected peer; `address` is a multiaddr."""

    peer_id: str
    address: str
    last_seen: AwareDatetime


class Peers(_Success):
    """The connected peers."""

    data: list[Peer]


class ConnectedPeer(BaseModel):
    """A newly connected peer; `address` is the multiaddr that it was reached at."""

    peer_id: str
    address: str
    status: Literal["connected"] = "connected"


class Connected(_Success):
    """The node is connected to one more peer."""

    data: ConnectedPeer


class TaskRecord(BaseModel):
    """A task. Times and `error` are absent until there are any."""

    task_id: str
    external_task_id: str
    user_id: str
    model: dict[str, Any] = Field(alias="model_config")
    training_params: dict[str, Any]
    dataset_info: dict[str, Any]
    status: Literal["submitted", "running", "completed", "failed"]
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    failed_at: AwareDatetime | None = None
    error: str | None = None
    progress: float = Field(ge=0, le=100)
    logs: list[str]


class TaskReply(_Success):
    """A task and its progress."""

    data: TaskRecord


class Items(_Success):
    """A list of JSON objects."""

    data: list[dict[str, Any]]


class SwarmReporting(BaseModel):
    """Where contributions to a swarm go: the backend's URL, or why they aren't reported."""

    session_id: int | None
    training_id: str | None
    reported_to: str | None
    why_not: str | None


class ReportingRecord(BaseModel):
    """How reporting goes: `off`, `on`, `waiting` or `failing`, and why; how many contributions the
    backend had confirmed and no longer knows; the swarms by their `run_id`."""

    status: str
    backend_url: str
    reason: str
    remedy: str
    next_try: AwareDatetime | None
    forgotten: int
    swarms: dict[str, SwarmReporting]


class Contributions(Items):
    """Contributions, and how reporting them goes."""

    reporting: ReportingRecord


class RefusedCallRecord(BaseModel):
    """A call that was refused or has failed; `task_id` is the caller's own, "" if unknown."""

    time: AwareDatetime
    call: str
    status: int
    reason: str
    task_id: str


class RefusedCalls(_Success):
    """The refused calls, newest first."""

    data: list[RefusedCallRecord]


class Failure(BaseModel):
    """A refused or failed call: `detail` says why, `errors` lists each wrong field of the body."""

    detail: str
    errors: list[dict[str, str]] | None = None


def record_of(task: Task) -> dict[str, Any]:
    """A task as a `TaskRecord`: the spec's parts as they were given, and only known times."""
    times: dict[str, datetime | None] = {"started_at": task.started_at}
    if task.status is TaskStatus.COMPLETED:
        times["completed_at"] = task.ended_at
    if task.status is TaskStatus.FAILED:
        times["failed_at"] = task.ended_at
    optional = {**times, "error": task.error}
    return {
        "task_id": task.id,
        "external_task_id": task.order.task_id,
        "user_id": task.order.user_id,
        "model_config": task.order.model_config,
        "training_params": task.order.training_params,
        "dataset_info": task.order.dataset_info,
        "status": task.status.value,
        "created_at": task.created_at,
        "progress": task.progress,
        "logs": task.logs,
        **{name: value for name, value in optional.items() if value is not None},
    }
