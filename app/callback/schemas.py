"""What goes over the wire, field for field."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from app.tasks.task import Task, TaskStatus

MOST_LEVELS = 20

Text = Annotated[str, Field(max_length=200)]


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """An object that can be written as JSON again: no NaN, no half characters, not too deep."""
    if _levels(value) > MOST_LEVELS:
        raise ValueError(f"is nested deeper than {MOST_LEVELS} levels")
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value


def _levels(value: Any) -> int:
    """How deep it is nested, counted no further than one beyond what is allowed."""
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
    """A task: the three parts of a swarm's spec, and whose it is. The rest is optional."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={"examples": [TRAIN_EXAMPLE]},
    )

    # pydantic keeps the name `model_config` for itself
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

    def extra(self) -> dict[str, Any]:
        """The optional parts that were given."""
        names = ("run_id", "title", "initial_peers", "local", "session_id", "training_id")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ConnectBody(_Body):
    """A peer to connect to. address: a host's name or IP address."""

    peer_id: str = Field(min_length=1, max_length=200)
    address: str = Field(min_length=1, max_length=253)
    port: int = Field(ge=1, le=65535)


class _Success(BaseModel):
    status: Literal["success"] = "success"


class Health(BaseModel):
    """We are here."""

    status: Literal["healthy"] = "healthy"
    service: Literal["hivemind"] = "hivemind"


class NodeIdentity(BaseModel):
    """Multiaddrs of the app's peer and of the trainer's, and the app's peer id."""

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
    """error: why it doesn't run, where that is so."""

    status: Literal["running", "stopped", "error"]
    peer_id: str
    connected_peers: int
    dht_size: int
    error: str | None = None


class StatusReply(_Success):
    """How the node is."""

    data: NodeStatus


class Accepted(_Success):
    """A task was taken in. task_id: ours, to ask after it."""

    task_id: str


class Peer(BaseModel):
    """A connected peer. address: a multiaddr."""

    peer_id: str
    address: str
    last_seen: AwareDatetime


class Peers(_Success):
    """Who we are connected to."""

    data: list[Peer]


class ConnectedPeer(BaseModel):
    """address: the multiaddr that the peer was reached at."""

    peer_id: str
    address: str
    status: Literal["connected"] = "connected"


class Connected(_Success):
    """One more peer."""

    data: ConnectedPeer


class TaskRecord(BaseModel):
    """A task. Times and error are there once there is one."""

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
    """A task, as far as it is."""

    data: TaskRecord


class Items(_Success):
    """A list of JSON objects."""

    data: list[dict[str, Any]]


class Failure(BaseModel):
    """detail: what is wrong, in words. errors: each wrong field of a body."""

    detail: str
    errors: list[dict[str, str]] | None = None


def record_of(task: Task) -> dict[str, Any]:
    """A task as callers see it: the dicts as they were given, only the times that there are."""
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
