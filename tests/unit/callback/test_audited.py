"""What is refused can be found again, with its reason: by the caller, and in the logs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.callback.audited import MOST_KEPT, MOST_READS_KEPT, Refusals, RefusedCall, note_task
from app.callback.tokens import Role
from tests.support.callback.callbacks import BASE, Served
from tests.support.processes.sessions import train_body


async def errors(served: Served, query: str = "") -> list[dict[str, Any]]:
    reply = await served.get(f"{BASE}/errors{query}")
    assert reply.status_code == 200
    found: list[dict[str, Any]] = reply.json()["data"]
    return found


async def test_refusal_stands_in_both_logs_and_is_found_by_its_task(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    await served.post(f"{BASE}/train", train_body(task_id="43", user_id=7))
    await served.post(f"{BASE}/train", train_body(task_id="44", training_params={"x": 1}))
    line = served.audit()[-1]
    assert (line["task_id"], line["status"]) == ("44", 422)
    assert line["reason"].startswith("training_params.x: is not a field of a spec")
    assert "training_params.x: is not a field" in caplog.text
    (first,) = await errors(served, "?task_id=43")
    assert (first["call"], first["status"]) == (f"POST {BASE}/train", 422)
    assert first["reason"].startswith("user_id:")
    assert [each["task_id"] for each in await errors(served)] == ["44", "43"]
    assert await errors(served, "?task_id=45") == []


async def test_refusal_is_found_by_its_time(served: Served) -> None:
    await served.client.post(f"{BASE}/start")
    (found,) = await errors(served)
    assert (found["status"], found["task_id"]) == (401, "")
    assert found["reason"].startswith("A token is needed")
    moment = datetime.fromisoformat(found["time"])
    for since, count in ((moment, 1), (moment + timedelta(seconds=1), 0)):
        text = since.isoformat().replace("+", "%2B")
        assert len(await errors(served, f"?since={text}")) == count


async def test_a_time_that_is_none_is_refused(served: Served) -> None:
    for since in ("0.5", "yesterday", "2026-11-26T17:00:00"):
        assert (await served.get(f"{BASE}/errors?since={since}")).status_code == 422


async def test_refused_reads_are_found_too(served: Served) -> None:
    await served.get(f"{BASE}/training/unknown")
    (found,) = await errors(served)
    assert (found["status"], found["reason"]) == (404, "Task not found")
    assert served.audit()[-1]["reason"] == "Task not found"


async def test_no_token_gets_into_a_reason(served: Served) -> None:
    token = served.tokens.of(Role.OPERATOR)
    await served.post(f"{BASE}/train", train_body(training_params={f"token={token}": 1}))
    assert token not in str(await errors(served))


def test_only_the_last_are_kept() -> None:
    kept = Refusals()
    for number in range(MOST_KEPT + 3):
        time = datetime.fromtimestamp(number, UTC)
        kept.add(RefusedCall(time=time, call="", status=400, reason="", task_id=str(number)))
    for _ in range(2 * MOST_KEPT):
        kept.add(replace(kept.find()[-1], status=404, task_id="read"), reads=True)
    assert len(kept.find()) == MOST_KEPT + MOST_READS_KEPT
    assert kept.find(task_id="0") == []
    assert [each.task_id for each in kept.find(since=datetime.fromtimestamp(201, UTC))] == [
        "202",
        "201",
    ]


@pytest.mark.parametrize("body", [None, [], "text", {}, {"task_id": 7}])
def test_body_of_any_kind_names_no_task(body: object) -> None:
    scope: dict[str, Any] = {}
    note_task(scope, body)
    assert scope == {}
