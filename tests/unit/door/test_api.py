"""What a swarm's door answers by HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from app.callback.access import SIGN_IN
from app.callback.page.routes import DATA
from app.callback.tokens import Role
from app.callback.web import WebServer
from app.common.errors import BusyError, ConnectError, SettingsError
from app.common.logs import AuditLog, RingBuffer
from app.door import api as door
from app.door.page import page_of
from app.p2p.prober import Reachability
from app.spec import invite
from app.spec import schema as spec
from tests.support.processes.apps import tiny_spec
from tests.support.processes.sessions import PEER_ID, OfflineSession

SPEC = spec.parse(tiny_spec(title="Ours"))


class Served:
    """A door on an offline session, and what it is told about peers."""

    def __init__(self, session: OfflineSession) -> None:
        self.session = session
        self.answer: Reachability | Exception = Reachability(success=True, message="yes.")
        self.asked: list[str] = []
        self.client = httpx2.AsyncClient(trust_env=False, timeout=60)
        self.web = WebServer(session.store.settings, ended=lambda: None)
        self.audit = AuditLog(session.folders.logs)
        self.page = page_of(session, ring=RingBuffer(), closing=asyncio.Event())

    async def open(self) -> None:
        api = await self.web.start(
            lambda: door.build(
                self.session.store,
                invitation=lambda: SPEC,
                probe=self.probe,
                page=self.page,
                audit=self.audit,
            )
        )
        self.client.base_url = api.url.replace("0.0.0.0", "127.0.0.1")

    async def probe(self, peer_id: str) -> Reachability:
        self.asked.append(peer_id)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        await self.client.aclose()
        await self.web.close()
        self.audit.close()
        await self.session.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served(OfflineSession(tmp_path, callback_allowed_hosts="door.example"))
    await made.open()
    yield made
    await made.close()


async def test_spec_is_an_invite_to_be_saved(served: Served) -> None:
    reply = await served.client.get("/spec", headers={"Sec-Fetch-Site": "cross-site"})
    assert reply.status_code == 200
    assert reply.headers["content-disposition"] == 'attachment; filename="tiny.cotrain"'
    assert invite.read(reply.content, name="spec") == SPEC


@pytest.mark.parametrize("path", ["/is_reachable/", "/api/v1/is_reachable/"])
async def test_reachable_or_not_as_petals_says_it(served: Served, path: str) -> None:
    reply = await served.client.get(path + PEER_ID)
    assert (reply.status_code, reply.json()) == (200, {"success": True, "message": "yes."})
    served.answer = Reachability(success=False, message="no.")
    reply = await served.client.get(path + PEER_ID)
    assert (reply.status_code, reply.json()) == (200, {"success": False, "message": "no."})
    assert served.asked == [PEER_ID] * 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectError("'x' is no peer id.", field="peer_id"), 422),
        (ConnectError("can't call."), 503),
        (BusyError("too many."), 503),
    ],
)
async def test_what_cannot_be_asked_is_said(served: Served, error: Exception, status: int) -> None:
    served.answer = error
    reply = await served.client.get(f"/is_reachable/{PEER_ID}")
    assert (reply.status_code, reply.json()) == (status, {"detail": str(error)})


async def test_calling_on_peers_has_a_limit(served: Served) -> None:
    asking = [served.client.get(f"/is_reachable/{PEER_ID}") for _ in range(8)]
    statuses = sorted(reply.status_code for reply in await asyncio.gather(*asking))
    assert statuses == [200] * 5 + [429] * 3
    refused = await served.client.get(f"/is_reachable/{PEER_ID}")
    assert int(refused.headers["retry-after"]) > 0
    assert (await served.client.get("/health")).json()["status"] == "healthy"


async def test_swarms_figures_and_none_of_the_machine(served: Served) -> None:
    told = (await served.client.get("/metrics")).text
    assert "cotrain_peers 0.0" in told
    assert "cotrain_memory" not in told


async def test_nothing_can_be_changed_and_nothing_else_is_there(served: Served) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert (await served.client.request(method, "/spec")).status_code == 405
    for path in ("/docs", "/openapi.json", "/api/v1/hivemind/status", "/api/v1/hivemind/start"):
        assert (await served.client.get(path)).status_code == 404


@pytest.mark.parametrize(("host", "status"), [("door.example", 200), ("evil.example", 421)])
async def test_names_that_are_not_the_doors_are_turned_away(
    served: Served, host: str, status: int
) -> None:
    assert (await served.client.get("/health", headers={"Host": host})).status_code == status


async def test_port_that_is_taken_is_no_door(served: Served) -> None:
    taken = served.session.store.settings.model_copy(
        update={"callback_port": served.client.base_url.port}
    )
    with pytest.raises(SettingsError) as caught:
        await WebServer(taken, ended=lambda: None).start(dict, or_next_port=False)
    assert caught.value.field == "callback_port"


# --- the page


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
async def test_page_of_a_door_needs_a_token_to_show_anything(tmp_path: Path, host: str) -> None:
    served = Served(OfflineSession(tmp_path, callback_host=host))
    await served.open()
    try:
        client, origin = served.client, {"Origin": str(served.client.base_url).rstrip("/")}
        for path in ("/", "/page/app.js", "/health", "/spec", "/metrics"):
            assert (await client.get(path)).status_code == 200, path
        data = [f"{DATA}/{name}" for name in ("peers", "machines", "events", "log")]
        assert [(await client.get(path)).status_code for path in data] == [401] * 4
        for trick in (f"/{DATA}/log", "/%61pi/v1/page/log", "/spec/../api/v1/page/log"):
            assert (await client.get(trick)).status_code in (401, 404)
        wrong = await client.post(SIGN_IN, json={"token": "x"}, headers=origin)
        assert wrong.status_code == 401
        token = {"token": served.page.tokens.of(Role.OPERATOR)}
        assert (await client.post(SIGN_IN, json=token, headers=origin)).status_code == 200
        for path in (f"{DATA}/peers", f"{DATA}/machines", f"{DATA}/log"):
            assert (await client.get(path)).status_code == 200
        me = (await client.get("/page/me")).json()
        assert me == {
            "role": "operator",
            "may_read": True,
            "lists": ["peers", "machines", "log"],
        }
        for name in ("training/train", "training/rest"):  # a door starts and stops nothing
            reply = await client.post(f"{DATA}/{name}", json={}, headers=origin)
            assert reply.status_code == 404
        lines = (served.session.folders.logs / "audit.log").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        assert [(line["message"], line["outcome"]) for line in told] == [
            (f"POST {SIGN_IN}", "refused"),
            (f"POST {SIGN_IN}", "allowed"),
        ]
    finally:
        await served.close()


async def test_another_page_reads_no_more_of_a_door_with_its_cookie(tmp_path: Path) -> None:
    served = Served(OfflineSession(tmp_path, callback_host="0.0.0.0"))
    await served.open()
    try:
        client, origin = served.client, {"Origin": str(served.client.base_url).rstrip("/")}
        token = {"token": served.page.tokens.of(Role.OPERATOR)}
        await client.post(SIGN_IN, json=token, headers=origin)
        for foreign in ({"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1:3000"}):
            assert (await client.get(f"{DATA}/log", headers=foreign)).status_code == 401
    finally:
        await served.close()
