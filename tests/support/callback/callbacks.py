"""The local API, really served, on a session that is offline."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2

from app.callback import web
from app.callback.host import Sources
from app.callback.server import Callback
from app.callback.tokens import ApiTokens, Role
from app.tasks.tasks import Tasks
from tests.support.processes.sessions import OfflineSession, Volunteer

BASE = "/api/v1/hivemind"


@dataclass
class Served:
    """A served API, and a client of each role."""

    session: OfflineSession
    tasks: Tasks
    callback: Callback
    volunteer: Volunteer
    client: httpx2.AsyncClient

    @property
    def url(self) -> str:
        assert self.session.store.state.local_api is not None
        return self.session.store.state.local_api.url

    @property
    def port(self) -> int:
        assert self.session.store.state.local_api is not None
        return self.session.store.state.local_api.port

    @property
    def tokens(self) -> ApiTokens:
        assert self.callback.tokens is not None
        return self.callback.tokens

    def as_(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens.of(role)}"}

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.client.get(path, **more)

    async def post(
        self, path: str, body: Any = None, *, role: Role = Role.OPERATOR, **more: Any
    ) -> httpx2.Response:
        headers = {**self.as_(role), **more.pop("headers", {})}
        return await self.client.post(path, json=body, headers=headers, **more)

    async def task(self, task_id: str) -> dict[str, Any]:
        reply = await self.get(f"{BASE}/training/{task_id}")
        assert reply.status_code == 200
        found: dict[str, Any] = reply.json()["data"]
        return found

    def audit(self) -> list[dict[str, Any]]:
        file = self.session.folders.logs / "audit.log"
        return [json.loads(line) for line in file.read_text().splitlines()]

    async def raw(self, request: bytes, *, host: str = "127.0.0.1") -> bytes:
        """Send bytes as they are, and read until the server closes."""
        reader, writer = await asyncio.open_connection(host, self.port)
        writer.write(request)
        received = b""
        try:
            while more := await reader.read(65536):
                received += more
        except ConnectionResetError:
            pass  # it hung up while we still sent
        finally:
            writer.close()
        return received


@asynccontextmanager
async def serving(
    folder: Path, *, asks: bool = True, sources: Sources | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """Serve on a free port; ends it all afterwards. Closing may take long on a busy machine."""
    session, volunteer = OfflineSession(folder, **settings), Volunteer()
    tasks = Tasks(session, volunteer=volunteer if asks else None)
    callback = Callback(session, tasks=tasks, sources=sources)
    await callback.start()
    assert callback._web is not None
    assert callback._web._server is not None
    callback._web._server.config.timeout_graceful_shutdown = 60
    assert session.store.state.local_api is not None
    url = session.store.state.local_api.url.replace("0.0.0.0", "127.0.0.1")
    with mock.patch.object(web, "CLOSE_SECONDS", 120):
        try:
            async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
                yield Served(session, tasks, callback, volunteer, client)
        finally:
            await callback.close()
            await session.close()
