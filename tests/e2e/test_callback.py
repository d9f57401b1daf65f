"""Callers of a real app: a task that is posted is really trained."""

import asyncio
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.callback.callers import BASE, Call
from tests.support.processes.apps import PATIENCE, StartApp, tiny_spec, training

pytestmark = [pytest.mark.e2e]

PROXY = Path(__file__).parents[1] / "support" / "callback" / "proxy.cjs"


def task(*, epochs: int = 3, **changes: Any) -> dict[str, Any]:
    spec = tiny_spec(
        training_params=training(target_batch_size=2048, stop={"epochs": epochs}), **changes
    )
    del spec["run_id"]
    return {**spec, "user_id": "alice", "task_id": "42"}


def is_over(found: dict[str, Any]) -> bool:
    return found["status"] in {"completed", "failed"}


SERVE = ("--serve", "--consent", "always")


async def test_posted_task_is_trained_to_its_end(start_app: StartApp, call: Call) -> None:
    app = await start_app(*SERVE)
    caller = await call(app)
    started = (await caller.post("start"))["data"]
    status = await caller.get("status")
    assert (status["status"], status["peer_id"]) == ("running", started["peer_id"])
    assert started["dht_address"].endswith(started["peer_id"])
    task_id = (await caller.post("train", task()))["task_id"]
    middle = await caller.until(f"training/{task_id}", lambda found: 0 < found["progress"] < 100)
    assert middle["status"] == "running"
    record = await caller.until(f"training/{task_id}", is_over)
    assert (record["status"], record["progress"]) == ("completed", 100), record
    assert record["created_at"] < record["started_at"] < record["completed_at"]
    assert any("epoch 2 averaged" in line for line in record["logs"]), record["logs"]
    line = await app.wait_for(lambda line: line["run_id"] is not None)
    assert line["run_id"].startswith("task-")
    folder = app.folder / "checkpoints" / line["run_id"] / "trainer"
    assert list(folder.glob("epoch-*.pt"))
    assert (await caller.post("stop"))["status"] == "success"
    assert (await caller.get("status"))["status"] == "stopped"


@pytest.mark.slow
async def test_task_that_cannot_be_trained_has_failed(
    start_app: StartApp, call: Call, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("too short", encoding="utf-8")
    app = await start_app(*SERVE, "--data", f"corpus={corpus}")
    caller = await call(app)
    slot = {"source": "slot", "label": "corpus"}
    for refused, field in (
        ({"source": "slot", "label": "another"}, "dataset_info.label"),
        ({"source": "files", "paths": ["~/.ssh/id_ed25519"]}, "dataset_info.paths"),
    ):
        reply = await caller.client.post(f"{BASE}/train", json=task(dataset_info=refused))
        assert (reply.status_code, field in reply.text) == (422, True), reply.text
    task_id = (await caller.post("train", task(dataset_info=slot)))["task_id"]
    record = await caller.until(
        f"training/{task_id}", lambda found: found["status"] in {"failed", "completed"}
    )
    assert record["status"] == "failed"
    assert "tokens" in record["error"], record
    assert record["failed_at"] > record["started_at"]
    again = await caller.post("train", task(epochs=10**6))  # the place is free again
    await caller.until(
        f"training/{again['task_id']}", lambda found: "epoch 2" in str(found["logs"])
    )
    await caller.post("stop")
    stopped = await caller.get(f"training/{again['task_id']}")
    assert (stopped["status"], stopped["progress"] < 100) == ("failed", True)


def knows(peer_id: str, peers: list[dict[str, Any]]) -> bool:
    return peer_id in [peer["peer_id"] for peer in peers]


async def test_two_apps_connect(start_app: StartApp, call: Call) -> None:
    one, other = [await start_app(*SERVE, "--dht-port", "0") for _ in range(2)]
    callers = [await call(app) for app in (one, other)]
    first, second = [(await caller.post("start"))["data"] for caller in callers]
    port = int(first["dht_address"].split("/tcp/")[1].split("/")[0])
    body = {"peer_id": first["peer_id"], "address": "127.0.0.1", "port": port}
    reply = (await callers[1].post("peers/connect", body))["data"]
    assert reply == {
        "peer_id": first["peer_id"],
        "address": f"/ip4/127.0.0.1/tcp/{port}/p2p/{first['peer_id']}",
        "status": "connected",
    }
    for caller, known in ((callers[0], second), (callers[1], first)):
        await caller.until("peers", partial(knows, known["peer_id"]))
        status = await caller.get("status")
        assert status["dht_size"] == status["connected_peers"] + 1 >= 2
    stranger = body | {"peer_id": "QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX", "port": 1}
    reply = await callers[1].client.post(f"{BASE}/peers/connect", json=stranger)
    assert reply.status_code == 502, reply.text
    assert "can't be reached" in reply.json()["detail"]


async def test_without_consent_nothing_is_trained(start_app: StartApp, call: Call) -> None:
    app = await start_app("--serve")
    caller = await call(app)
    await app.said("nobody can be asked")
    reply = await caller.client.post(f"{BASE}/train", json=task())
    assert reply.status_code == 409


@pytest.fixture(scope="session")
def axios(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which node finds axios, the library of the backend's proxy."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node isn't installed")
    folder = tmp_path_factory.mktemp("axios")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "axios@1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"axios can't be installed: {done.stderr[-300:]}")
    return folder


@pytest.mark.slow
async def test_backends_library_calls_us(start_app: StartApp, call: Call, axios: Path) -> None:
    app = await start_app(*SERVE)
    caller = await call(app)
    shutil.copy(PROXY, axios)
    given = json.dumps(
        {
            "url": str(caller.client.base_url),
            "authorization": caller.client.headers["Authorization"],
            "task": task(),
        }
    )
    process = await asyncio.create_subprocess_exec(
        *("node", "proxy.cjs", given),
        cwd=axios,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 2 * PATIENCE)
    assert process.returncode == 0, errors.decode()
    found = json.loads(output)
    assert found["started"]["peer_id"]
    assert found["task"]["status"] == "completed"
    assert found["wrong"]["status"] == 422
    assert "model_config" in found["wrong"]["message"]
    assert found["unknown"] == {"status": 404, "message": "Task not found"}
