"""The routes. Each docstring of a route is its description in OpenAPI and on ``/docs``."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from prometheus_client import CONTENT_TYPE_LATEST

from app.callback.access import caller_of
from app.callback.audited import Refusals, note_task
from app.callback.events import Events
from app.callback.host import ContributionSource, MachineSource, Sources
from app.callback.metrics import Metrics
from app.callback.node import Node
from app.callback.schemas import (
    Accepted,
    ConnectBody,
    Connected,
    Contributions,
    EvaluationReply,
    Failure,
    Health,
    Items,
    Moment,
    Peers,
    RefusedCalls,
    Started,
    StatusReply,
    Stopped,
    TaskReply,
    TrainBody,
    record_of,
)
from app.tasks.order import Order
from app.tasks.tasks import Tasks

PREFIX = "/api/v1/hivemind"

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Failure, "description": "No token, or a wrong one"},
    403: {"model": Failure, "description": "Not allowed to this role or origin"},
    413: {"model": Failure, "description": "The body is too large"},
    415: {"model": Failure, "description": "The body is not JSON"},
    421: {"model": Failure, "description": "The host name is not allowed"},
    429: {"model": Failure, "description": "Too many requests"},
    500: {"model": Failure, "description": "The call failed; says why"},
}


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    words = {
        400: "The body is no JSON",
        404: "There is no such task",
        409: "Not possible now; says why",
        422: "A field is wrong; says why",
        502: "The other peer can't be reached; says why",
    }
    own: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": words[status]} for status in statuses
    }
    return {**_REFUSALS, **own}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The objects that answer the calls.

    may_read: whether the caller of a request may go on reading its answer.
    """

    node: Node
    tasks: Tasks
    events: Events
    metrics: Metrics
    sources: Sources
    refusals: Refusals
    may_read: Callable[[Request], bool]


def router_of(parts: Parts) -> APIRouter:
    """All routes."""
    router = APIRouter()
    _add_health(router, parts)
    _add_node(router, parts)
    _add_tasks(router, parts)
    _add_events(router, parts)
    _add_errors(router, parts.refusals)
    if parts.sources.contributions is not None:
        _add_contributions(router, parts.sources.contributions)
    if parts.sources.machines is not None:
        _add_machines(router, parts.sources.machines)
    return router


def _add_health(router: APIRouter, parts: Parts) -> None:
    @router.get("/health", responses=_answers())
    async def health() -> Health:
        """Whether the app runs."""
        return Health()

    @router.get(
        "/metrics",
        responses={**_REFUSALS, 200: {"content": {CONTENT_TYPE_LATEST: {}}}},
        response_class=Response,
    )
    async def metrics() -> Response:
        """This machine's figures in the text format of Prometheus."""
        return Response(await parts.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _add_node(router: APIRouter, parts: Parts) -> None:
    node = parts.node

    @router.post(f"{PREFIX}/start", response_model=Started, responses=_answers(409))
    async def start() -> dict[str, Any]:
        """Join the swarm that this machine was in last, or the network of its initial peers."""
        return {"message": await node.start(), "data": await node.identity()}

    @router.post(f"{PREFIX}/stop", response_model=Stopped, responses=_answers())
    async def stop() -> dict[str, Any]:
        """Stop the task and training, and leave the swarm. The message says what was stopped."""
        return {"message": await node.stop()}

    @router.get(
        f"{PREFIX}/status",
        response_model=StatusReply,
        response_model_exclude_none=True,
        responses=_answers(),
    )
    async def status() -> dict[str, Any]:
        """The node's status."""
        return {"data": node.status()}

    @router.get(f"{PREFIX}/evaluation", response_model=EvaluationReply, responses=_answers())
    async def evaluation() -> dict[str, Any]:
        """What the swarm's model makes of held-out text, and what it writes."""
        return {"data": node.evaluation()}

    @router.get(f"{PREFIX}/peers", response_model=Peers, responses=_answers())
    async def peers() -> dict[str, Any]:
        """The peers that the node is connected to."""
        return {"data": node.peers()}

    @router.post(
        f"{PREFIX}/peers/connect",
        response_model=Connected,
        responses=_answers(400, 409, 422, 502),
    )
    async def connect(body: ConnectBody) -> dict[str, Any]:
        """Connect the node to one more peer."""
        address = await node.connect(body.peer_id, address=body.address, port=body.port)
        return {"data": {"peer_id": body.peer_id, "address": address}}


def _add_tasks(router: APIRouter, parts: Parts) -> None:
    @router.post(f"{PREFIX}/train", response_model=Accepted, responses=_answers(400, 409, 422))
    async def train(body: TrainBody, request: Request) -> dict[str, Any]:
        """Submit a task. Training begins once the volunteer agrees."""
        note_task(request.scope, {"task_id": body.task_id})
        order = Order(
            model_config=body.model,
            training_params=body.training_params,
            dataset_info=body.dataset_info,
            user_id=body.user_id,
            task_id=body.task_id,
            caller=caller_of(request.scope),
            extra=body.extra(),
        )
        return {"task_id": parts.tasks.submit(order).id}

    @router.get(
        f"{PREFIX}/training/{{task_id}}",
        response_model=TaskReply,
        response_model_exclude_unset=True,
        responses=_answers(404),
    )
    async def training(task_id: str) -> dict[str, Any]:
        """A task and its progress."""
        task = parts.tasks.find(task_id)
        if task is None:
            raise HTTPException(404, "Task not found")
        return {"status": "success", "data": record_of(task)}


def _add_events(router: APIRouter, parts: Parts) -> None:
    async def admitted() -> AsyncIterator[None]:
        with parts.events.place():  # until the answer's end, so that no two take the same
            yield

    # Not in the schema: the answer never ends, and a program that tries each call would hang.
    @router.get(
        f"{PREFIX}/events",
        response_class=EventSourceResponse,
        dependencies=[Depends(admitted)],
        include_in_schema=False,
    )
    async def events(request: Request) -> AsyncIterable[ServerSentEvent]:
        """Each change of the state, as it happens."""
        async for event in parts.events.stream(may_read=lambda: parts.may_read(request)):
            yield event


def _add_errors(router: APIRouter, refusals: Refusals) -> None:
    @router.get(f"{PREFIX}/errors", response_model=RefusedCalls, responses=_answers(422))
    async def errors(
        task_id: Annotated[str | None, Query(max_length=200)] = None,
        since: Moment | None = None,
    ) -> dict[str, Any]:
        """The calls that were refused or have failed, newest first, by the caller's id of the
        task or since a time."""
        found = refusals.find(task_id=task_id, since=since)
        return {"data": [asdict(each) for each in found]}


def _add_contributions(router: APIRouter, source: ContributionSource) -> None:
    @router.get(f"{PREFIX}/contributions", response_model=Contributions, responses=_answers(422))
    async def contributions(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """This machine's contributions, newest first, and how reporting them goes."""
        found = await source.contributions(limit=limit)
        return {"data": found, "reporting": await source.reporting()}


def _add_machines(router: APIRouter, source: MachineSource) -> None:
    @router.get(f"{PREFIX}/machines", response_model=Items, responses=_answers())
    async def machines() -> Response:
        """The machines of the swarm."""
        # as it is: to check thousands of machines once more would stop the loop
        packed = await source.machines()
        body = b'{"status":"success","data":%s}' % packed
        return Response(body, media_type="application/json")
