"""What callers rely on, field for field."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import protocol
from app.callback.host import Sources
from app.common.errors import JoinError, SettingsError
from app.p2p.run_records import load_identity
from app.state.events import Joined
from app.state.state import Phase
from tests.support.callback.callbacks import BASE, Served, serving
from tests.support.processes.sessions import OTHER_ID, PEER_ID, train_body
from tests.support.training.specs import BEGINS, LLAMA

# --- the node ------------------------------------------------------------------------------------


async def test_health(served: Served) -> None:
    reply = await served.get("/health")
    assert (reply.status_code, reply.json()) == (200, {"status": "healthy", "service": "hivemind"})


async def test_status_before_the_start(served: Served) -> None:
    reply = await served.get(f"{BASE}/status")
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "success",
        "data": {"status": "stopped", "peer_id": "", "connected_peers": 0, "dht_size": 1},
    }


async def test_start_enters_the_network_and_says_where_we_are(served: Served) -> None:
    reply = await served.post(f"{BASE}/start")
    assert reply.status_code == 200
    trainer = await asyncio.to_thread(
        load_identity, served.session.folders.identity_file("trainer")
    )
    assert reply.json() == {
        "status": "success",
        "message": "Hivemind node started",
        "data": {
            "dht_address": f"/ip4/127.0.0.1/tcp/0/p2p/{PEER_ID}",
            "server_address": f"/ip4/127.0.0.1/tcp/0/p2p/{trainer.peer_id}",
            "peer_id": PEER_ID,
        },
    }
    assert served.session.store.state.phase is Phase.WATCHING
    status = (await served.get(f"{BASE}/status")).json()["data"]
    assert (status["status"], status["peer_id"]) == ("running", PEER_ID)


async def test_trainer_that_has_run_before_keeps_its_peer_id(served: Served) -> None:
    file = served.session.folders.identity_file("trainer")
    known = await asyncio.to_thread(load_identity, file)
    data = (await served.post(f"{BASE}/start")).json()["data"]
    assert data["server_address"] == f"/ip4/127.0.0.1/tcp/0/p2p/{known.peer_id}"


async def test_start_again_is_still_a_success(served: Served) -> None:
    first = (await served.post(f"{BASE}/start")).json()
    again = (await served.post(f"{BASE}/start")).json()
    assert (again["status"], again["data"]) == ("success", first["data"])
    assert "already running" in again["message"]
    assert len(served.session.peer.entered) == 1


async def test_two_starts_at_once_enter_once(served: Served) -> None:
    replies = await asyncio.gather(*(served.post(f"{BASE}/start") for _ in range(2)))
    assert [reply.status_code for reply in replies] == [200, 200]
    assert len(served.session.peer.entered) == 1


async def test_start_enters_the_initial_peers_of_the_settings(tmp_path: Path) -> None:
    address = f"/ip4/10.0.0.7/tcp/8080/p2p/{OTHER_ID}"
    async with serving(tmp_path / "data", initial_peers=(address,)) as served:
        await served.post(f"{BASE}/start")
        assert served.session.peer.entered == [("", (address,))]


async def test_start_that_fails_says_why(served: Served) -> None:
    served.session.peer.failure = JoinError("nobody is there.", field="initial_peers")
    reply = await served.post(f"{BASE}/start")
    assert reply.status_code == 500
    assert reply.json() == {"detail": "initial_peers: nobody is there."}
    status = (await served.get(f"{BASE}/status")).json()["data"]
    assert status["status"] == "error"
    assert status["error"] == "initial_peers: nobody is there."


async def test_stop_leaves_and_start_enters_the_same_swarm_again(served: Served) -> None:
    task_id = await accepted(served)
    served.session.trainer_reports(epoch=4)
    served.session.trainer_ends(completed=True)
    stopped = await served.post(f"{BASE}/stop")
    message = "Hivemind node stopped: the swarm Task 42"
    assert stopped.json() == {"status": "success", "message": message}
    assert served.session.store.state.phase is Phase.DISCONNECTED
    await served.post(f"{BASE}/start")
    first, second = (run_id for run_id, _ in served.session.peer.entered if run_id)
    assert first == second
    assert (await served.task(task_id))["status"] == "completed"


async def test_stop_when_nothing_runs_is_a_success(served: Served) -> None:
    reply = await served.post(f"{BASE}/stop")
    assert reply.json() == {"status": "success", "message": "Hivemind node is not running"}


async def test_status_of_a_trainer_that_failed(served: Served) -> None:
    await accepted(served)
    served.session.trainer_ends("out of memory.")
    status = (await served.get(f"{BASE}/status")).json()["data"]
    assert (status["status"], status["error"]) == ("error", "out of memory.")


async def test_peers_tell_when_they_were_seen(served: Served) -> None:
    await served.post(f"{BASE}/start")
    served.session.sees_peer(last_seen=1_700_000_000.0)
    reply = await served.get(f"{BASE}/peers")
    (peer,) = reply.json()["data"]
    assert reply.json()["status"] == "success"
    assert peer.keys() == {"peer_id", "address", "last_seen"}
    assert (peer["peer_id"], peer["address"]) == (OTHER_ID, "/ip4/10.0.0.7/tcp/8080")
    seen = datetime.fromisoformat(peer["last_seen"])
    assert seen == datetime.fromtimestamp(1_700_000_000, UTC)
    status = (await served.get(f"{BASE}/status")).json()["data"]
    assert (status["connected_peers"], status["dht_size"]) == (1, 2)


async def test_connect_reaches_a_peer(served: Served) -> None:
    await served.post(f"{BASE}/start")
    body = {"peer_id": OTHER_ID, "address": "10.0.0.7", "port": 8080}
    reply = await served.post(f"{BASE}/peers/connect", body)
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "success",
        "data": {
            "peer_id": OTHER_ID,
            "address": f"/ip4/10.0.0.7/tcp/8080/p2p/{OTHER_ID}",
            "status": "connected",
        },
    }


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"address": "192.0.2.1"}, 502, "can't be reached"),
        ({"peer_id": "nobody"}, 422, "peer_id"),
        ({"port": 0}, 422, "port"),
        ({"port": 65536}, 422, "port"),
        ({"port": None}, 422, "port"),
        ({"address": ""}, 422, "address"),
        ({"more": 1}, 422, "more"),
    ],
)
async def test_connect_that_fails_says_why(
    served: Served, changes: dict[str, Any], status: int, word: str
) -> None:
    await served.post(f"{BASE}/start")
    body = {"peer_id": OTHER_ID, "address": "10.0.0.7", "port": 8080} | changes
    reply = await served.post(f"{BASE}/peers/connect", body)
    assert reply.status_code == status
    assert word in reply.json()["detail"]


async def test_connect_outside_of_a_swarm_is_refused(served: Served) -> None:
    body = {"peer_id": OTHER_ID, "address": "10.0.0.7", "port": 8080}
    reply = await served.post(f"{BASE}/peers/connect", body)
    assert reply.status_code == 409
    assert "Start it first" in reply.json()["detail"]


# --- tasks ---------------------------------------------------------------------------------------


async def accepted(served: Served, **changes: Any) -> str:
    """A task that the volunteer has agreed to, and whose trainer has started."""
    reply = await served.post(f"{BASE}/train", train_body(**changes))
    assert reply.status_code == 200, reply.text
    served.volunteer.answers.put_nowait(True)
    await served.session.trains.wait()
    served.session.trains.clear()
    return str(reply.json()["task_id"])


async def test_train_replies_with_an_id_of_ours(served: Served) -> None:
    reply = await served.post(f"{BASE}/train", train_body())
    assert reply.json().keys() == {"status", "task_id"}
    assert reply.json()["status"] == "success"
    assert str(uuid.UUID(reply.json()["task_id"])) == reply.json()["task_id"]


async def test_task_waits_for_the_volunteers_word(served: Served) -> None:
    task_id = (await served.post(f"{BASE}/train", train_body())).json()["task_id"]
    asked = await served.volunteer.asked.get()
    assert asked.id == task_id
    record = await served.task(task_id)
    assert record.keys() == {
        "task_id",
        "external_task_id",
        "user_id",
        "model_config",
        "training_params",
        "dataset_info",
        "status",
        "created_at",
        "progress",
        "logs",
    }
    given = train_body()
    for name in ("model_config", "training_params", "dataset_info", "user_id"):
        assert record[name] == given[name]
    assert record["external_task_id"] == "42"
    assert (record["status"], record["progress"]) == ("submitted", 0)
    assert datetime.fromisoformat(record["created_at"]).utcoffset() is not None
    assert all(isinstance(line, str) for line in record["logs"])


async def test_task_runs_and_completes(served: Served) -> None:
    task_id = await accepted(served)
    served.session.trainer_reports(epoch=2, samples=128)
    record = await served.task(task_id)
    assert (record["status"], record["progress"]) == ("running", 62.5)
    assert record["started_at"] >= record["created_at"]
    served.session.trainer_reports(epoch=4)
    assert (await served.task(task_id))["progress"] == 99.9
    served.session.trainer_ends(completed=True)
    await asyncio.sleep(0)
    record = await served.task(task_id)
    assert (record["status"], record["progress"]) == ("completed", 100)
    assert record["completed_at"] >= record["started_at"]
    assert not {"failed_at", "error"} & record.keys()


async def test_task_that_fails_tells_the_error(served: Served) -> None:
    task_id = await accepted(served)
    served.session.trainer_ends("the loss is not finite any more.")
    record = await served.task(task_id)
    assert record["status"] == "failed"
    assert record["error"] == "the loss is not finite any more."
    assert record["failed_at"] >= record["started_at"]
    assert "completed_at" not in record


async def test_dicts_come_back_as_they_were_given(served: Served) -> None:
    odd = {"model_type": "gpt2", "n_layer": None, "summary": {"深": [None, 1.5, "é"]}}
    task_id = (await served.post(f"{BASE}/train", train_body(model_config=odd))).json()["task_id"]
    assert (await served.task(task_id))["model_config"] == odd


@pytest.mark.parametrize(
    "task_id", ["nothing", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "%00", "a b", "%F0%9F%98%80"]
)
async def test_unknown_task(served: Served, task_id: str) -> None:
    reply = await served.get(f"{BASE}/training/{task_id}")
    assert (reply.status_code, reply.json()) == (404, {"detail": "Task not found"})


ADAPTERS = train_body()["training_params"] | {"adapters": {"rank": 4, "targets": ["q_proj"]}}
PARTS = [
    {"weight": 3, "data": {"source": "builtin"}},
    {"weight": 1, "data": {"source": "hub", "name": "us/rows"}},
]
MIXTURE = {"source": "mixture", "parts": PARTS}


@pytest.mark.parametrize(
    "changes",
    [
        {"model_config": LLAMA, "pretrained": BEGINS, "training_params": ADAPTERS},
        {"model_config": LLAMA | {"pretrained": BEGINS}, "training_params": ADAPTERS},
        {"dataset_info": MIXTURE},
    ],
    ids=["weights beside", "weights inside", "mixture"],
)
async def test_weights_adapters_and_mixtures_can_be_asked_for(
    served: Served, changes: dict[str, Any]
) -> None:
    record = await served.task(await accepted(served, **changes))
    assert record["status"] == "running"
    spec = served.session.swarm.spec
    assert spec is not None
    assert (spec.pretrained is not None) == (changes.get("dataset_info") is None)
    assert (spec.data.source == "mixture") == ("dataset_info" in changes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"training_params": ADAPTERS}, "training_params.adapters"),
        (
            {"model_config": {"model_type": "llama"}, "pretrained": BEGINS},
            "model_config",
        ),
        (
            {"model_config": LLAMA, "pretrained": BEGINS | {"revision": "main"}},
            "pretrained.revision",
        ),
        (
            {"dataset_info": {"source": "mixture", "parts": [*PARTS, {"weight": 0, "data": {}}]}},
            "dataset_info.parts.2",
        ),
        ({"dataset_info": {"source": "mixture", "parts": PARTS[:1]}}, "dataset_info.parts"),
        ({"model_config": {}}, "model_config.model_type"),
        ({"model_config": {"model_type": "resnet"}}, "model_config.model_type"),
        ({"model_config": {"model_type": "gpt2", "auto_map": {}}}, "model_config"),
        ({"training_params": {"target_batch_size": -1}}, "training_params.target_batch_size"),
        ({"training_params": {"epochs": 3, "stop": {"epochs": 2}}}, "training_params.epochs"),
        ({"dataset_info": {}}, "dataset_info"),
        ({"dataset_info": {"source": "https", "url": "http://a"}}, "dataset_info.url"),
        ({"model_config": []}, "model_config"),
        ({"model_config": None}, "model_config"),
        ({"user_id": 7}, "user_id"),
        ({"task_id": "x" * 201}, "task_id"),
        ({"run_id": "../etc"}, "run_id"),
        ({"initial_peers": ["nobody"]}, "initial_peers"),
        ({"gpu": 1}, "gpu"),
    ],
)
async def test_wrong_task_names_the_field_and_why(
    served: Served, changes: dict[str, Any], field: str
) -> None:
    reply = await served.post(f"{BASE}/train", train_body(**changes))
    assert reply.status_code == 422
    found = reply.json()
    assert field in found["detail"]
    assert found["errors"][0]["field"].startswith(field.split(".", maxsplit=1)[0])
    assert found["errors"][0]["message"]
    assert served.tasks.active is None


async def test_every_wrong_field_of_a_task_is_named(served: Served) -> None:
    wrong = {"target_batch_size": -1, "sequence_length": 0, "colour": "red", "seed": "x"}
    reply = await served.post(f"{BASE}/train", train_body(training_params=wrong))
    assert reply.status_code == 422
    found = reply.json()
    assert {each["field"] for each in found["errors"]} == {f"training_params.{n}" for n in wrong}
    assert all(f"training_params.{name}" in found["detail"] for name in wrong)
    assert "more" not in found["detail"]
    names = [f"field_{number}" for number in range(8)]
    reply = await served.post(f"{BASE}/train", train_body() | dict.fromkeys(names, 1))
    assert all(name in reply.json()["detail"] for name in names)


@pytest.mark.parametrize("name", train_body())
async def test_each_part_of_a_task_is_needed(served: Served, name: str) -> None:
    body = train_body()
    del body[name]
    reply = await served.post(f"{BASE}/train", body)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"] == name


async def test_only_one_task_at_a_time(served: Served) -> None:
    first = await accepted(served)
    reply = await served.post(f"{BASE}/train", train_body(task_id="43"))
    assert reply.status_code == 409
    assert first in reply.json()["detail"]


async def test_no_task_beside_the_volunteers_own_training(served: Served) -> None:
    await served.post(f"{BASE}/start")
    await served.session.training.start()
    reply = await served.post(f"{BASE}/train", train_body())
    assert reply.status_code == 409
    assert "volunteer" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("consent", "word"), [("never", "no tasks"), ("ask", "nobody can be asked")]
)
async def test_task_that_nobody_would_agree_to_is_refused(
    tmp_path: Path, consent: str, word: str
) -> None:
    async with serving(tmp_path / "data", asks=False, consent=consent) as served:
        reply = await served.post(f"{BASE}/train", train_body())
        assert reply.status_code == 409
        assert word in reply.json()["detail"]


async def test_stop_ends_the_task(served: Served) -> None:
    task_id = await accepted(served)
    served.session.trainer_reports(epoch=1)
    stopped = await served.post(f"{BASE}/stop")
    assert stopped.json()["message"] == (
        f"Hivemind node stopped: the task 42 ({task_id}), training, the swarm Task 42"
    )
    record = await served.task(task_id)
    assert record["status"] == "failed"
    assert record["progress"] == 25
    assert served.session.store.state.phase is Phase.DISCONNECTED


# --- bodies that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[" * 50_000, 400),
        (b"\xff\xfe", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b"9" * 5000, 400),
    ],
)
async def test_body_that_is_no_object(served: Served, content: bytes, status: int) -> None:
    headers = {**served.as_(role_operator()), "Content-Type": "application/json"}
    reply = await served.client.post(f"{BASE}/train", content=content, headers=headers)
    assert reply.status_code == status
    assert isinstance(reply.json()["detail"], str)


def role_operator() -> Any:
    from app.callback.tokens import Role

    return Role.OPERATOR


@pytest.mark.parametrize(
    "value",
    ['{"a": NaN}', '{"a": Infinity}', r'{"a": "\ud800"}', r'{"\udfff": 1}', '{"a":' * 50 + "1"],
)
async def test_value_that_can_be_no_json_again(served: Served, value: str) -> None:
    value += "}" * (value.count("{") - value.count("}"))
    body = json.dumps(train_body(model_config="HERE")).replace('"HERE"', value)
    headers = {**served.as_(role_operator()), "Content-Type": "application/json"}
    reply = await served.client.post(f"{BASE}/train", content=body.encode(), headers=headers)
    assert reply.status_code == 422
    assert "model_config" in reply.json()["detail"]


# --- our own additions ---------------------------------------------------------------------------


async def next_event(lines: AsyncIterator[str]) -> dict[str, Any]:
    """The next server-sent event."""
    fields: dict[str, Any] = {}
    async for line in lines:
        if not line and fields:
            return fields
        name, _, value = line.partition(": ")
        if name:
            fields[name] = json.loads(value) if name == "data" else value
    raise EOFError


async def test_events_begin_with_the_state_and_tell_its_changes(served: Served) -> None:
    async with served.client.stream("GET", f"{BASE}/events") as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = reply.aiter_lines()
        first = await next_event(lines)
        assert (first["event"], first["id"]) == ("status", "1")
        assert (first["data"]["status"], first["data"]["phase"]) == ("stopped", "disconnected")
        served.session.store.dispatch(Joined(peer_id=PEER_ID, addresses=()))
        second = await next_event(lines)
        assert (second["id"], second["data"]["peer_id"]) == ("2", PEER_ID)


async def test_events_tell_of_tasks(served: Served) -> None:
    async with served.client.stream("GET", f"{BASE}/events") as reply:
        lines = reply.aiter_lines()
        await next_event(lines)
        task_id = await accepted(served)
        names = [await next_event(lines) for _ in range(2)]
        task = next(event["data"] for event in names if event["event"] == "task")
        assert (task["task_id"], task["status"]) == (task_id, "running")


async def test_streams_end_with_the_server(served: Served) -> None:
    async with served.client.stream("GET", f"{BASE}/events") as reply:
        lines = reply.aiter_lines()
        await next_event(lines)
        await asyncio.wait_for(served.callback.close(), 30)
        with pytest.raises(EOFError):
            await next_event(lines)


async def test_there_are_only_so_many_streams(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.callback.events.MOST_STREAMS", 1)
    async with served.client.stream("GET", f"{BASE}/events") as reply:
        lines = reply.aiter_lines()  # kept: the stream ends with its iterator
        await next_event(lines)
        assert (await served.get(f"{BASE}/events")).status_code == 409


async def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    await accepted(served)
    served.session.trainer_reports(epoch=2, samples=128)
    reply = await served.get("/metrics")
    assert reply.status_code == 200
    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    values = {name: family.samples[0].value for name, family in families.items()}
    assert values["cotrain_loss"] == 2.5
    assert values["cotrain_epoch"] == 2
    assert values["cotrain_step"] == 21
    assert values["cotrain_samples_per_second"] == 80
    assert values["cotrain_tokens_per_second"] == 5120
    assert values["cotrain_peers"] == 0
    assert values["cotrain_task_progress_ratio"] == 0.625
    phases = {each.labels["phase"]: each.value for each in families["cotrain_phase"].samples}
    assert [phase for phase, value in phases.items() if value] == ["training"]


async def test_metrics_leave_out_what_is_not_known(served: Served) -> None:
    assert "cotrain_loss" not in (await served.get("/metrics")).text


async def test_evaluation_is_told(served: Served) -> None:
    empty = {"newest": None, "best": None, "swarm_held_out_loss": None, "samples": []}
    found = (await served.get(f"{BASE}/evaluation")).json()
    assert found == {"status": "success", "data": empty}
    await accepted(served)
    served.session.trainer_reports(epoch=2, samples=128)
    store = served.session.store
    store.dispatch(
        protocol.Evaluated(
            epoch=2, loss=2.0, bits_per_byte=2.9, tokens=64, seconds=0.5, time=1000.0
        )
    )
    store.dispatch(protocol.SampleGenerated(epoch=2, prompt="The", text=" end", time=1000.0))
    data = (await served.get(f"{BASE}/evaluation")).json()["data"]
    assert data["newest"] == data["best"]
    assert data["newest"]["perplexity"] == pytest.approx(7.389, abs=0.001)
    assert data["samples"] == [{"epoch": 2, "prompt": "The", "text": " end", "time": 1000.0}]
    text = (await served.get("/metrics")).text
    assert "cotrain_held_out_loss 2.0" in text
    assert "cotrain_evaluated_epoch 2.0" in text


async def test_routes_without_a_source_do_not_exist(served: Served) -> None:
    for name in ("contributions", "machines"):
        assert (await served.get(f"{BASE}/{name}")).status_code == 404


REPORTING = {
    "status": "on",
    "backend_url": "https://b.example",
    "reason": "",
    "remedy": "",
    "next_try": None,
    "forgotten": 749,
    "swarms": {
        "run": {"session_id": None, "training_id": "u", "reported_to": None, "why_not": "no number"}
    },
}


class Lists:
    """The ledger and the machines, as the API sees them."""

    async def contributions(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        return [{"score": 7}] * min(limit, 2)

    async def reporting(self) -> Mapping[str, Any]:
        return REPORTING

    async def machines(self) -> bytes:
        return json.dumps([{"peer_id": PEER_ID}]).encode()


async def test_sources_are_shown(tmp_path: Path) -> None:
    sources = Sources(contributions=Lists(), machines=Lists())
    async with serving(tmp_path / "data", sources=sources) as served:
        found = await served.get(f"{BASE}/contributions")
        assert found.json() == {
            "status": "success",
            "data": [{"score": 7}] * 2,
            "reporting": REPORTING,
        }
        few = await served.get(f"{BASE}/contributions?limit=1")
        assert len(few.json()["data"]) == 1
        assert (await served.get(f"{BASE}/contributions?limit=0")).status_code == 422
        machines = await served.get(f"{BASE}/machines")
        assert machines.json() == {"status": "success", "data": [{"peer_id": PEER_ID}]}


async def test_description(served: Served) -> None:
    schema = (await served.get("/openapi.json")).json()
    assert {"/health", "/metrics", f"{BASE}/train", f"{BASE}/training/{{task_id}}"} <= set(
        schema["paths"]
    )
    train = schema["components"]["schemas"]["TrainBody"]
    assert "model_config" in train["properties"]
    assert schema["paths"][f"{BASE}/train"]["post"]["security"] == [{"operator": []}]
    page = await served.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert f"{BASE}/train" in page.text
    assert "<script" not in page.text
    assert "://cdn" not in page.text


# --- life ----------------------------------------------------------------------------------------


async def test_taken_port_means_the_next_free_one(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        async with serving(tmp_path / "data", callback_port=wanted) as served:
            api = served.session.store.state.local_api
            assert api is not None
            assert api.wanted_port == wanted
            assert api.port != wanted
            assert (await served.get("/health")).status_code == 200


async def test_two_instances_side_by_side(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "a") as one,
        serving(tmp_path / "b", callback_port=one.port) as other,
    ):
        assert one.port != other.port


async def test_switched_off_it_listens_nowhere(tmp_path: Path) -> None:
    from app.callback.server import Callback
    from app.tasks.tasks import Tasks
    from tests.support.processes.sessions import OfflineSession

    session = OfflineSession(tmp_path / "data", callback=False)
    callback = Callback(session, tasks=Tasks(session))
    await callback.start()
    assert session.store.state.local_api is None
    assert not session.folders.callback_tokens.exists()
    await callback.close()
    await session.close()


async def test_address_that_is_not_ours_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        async with serving(tmp_path / "data", callback_host="192.0.2.1"):
            pass
    assert caught.value.field == "callback_host"


async def test_after_the_end_nobody_answers(served: Served) -> None:
    url = served.url
    await served.callback.close()
    assert served.session.store.state.local_api is None
    with pytest.raises(httpx2.ConnectError):
        await served.client.get(url)
    await served.callback.close()  # may be called twice


async def test_end_does_not_wait_for_a_start_that_takes_long(served: Served) -> None:
    served.session.peer.may_enter.clear()
    starting = asyncio.create_task(served.post(f"{BASE}/start"))
    await served.session.peer.enters.wait()
    await asyncio.wait_for(served.callback.close(), 30)
    reply = await starting
    assert (reply.status_code, reply.json()["detail"]) == (409, "the app is closing.")
