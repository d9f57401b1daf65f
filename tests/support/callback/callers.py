"""Callers of real apps."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.support.processes.apps import PATIENCE, App

BASE = "/api/v1/hivemind"


class Caller:
    """A program that was given the operator's token."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    @classmethod
    async def of(cls, app: App) -> "Caller":
        """As soon as the app says where it listens."""
        await app.said("Local API: ")
        words = app.errors.partition("Local API: ")[2].splitlines()[0]
        url, _, file = words.partition(", tokens: ")
        headers = {"Authorization": f"Bearer {token_in(file)}"}
        return cls(httpx2.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE))

    async def post(self, path: str, body: Any = None) -> Any:
        reply = await self.client.post(f"{BASE}/{path}", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def get(self, path: str) -> Any:
        reply = await self.client.get(f"{BASE}/{path}")
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    async def until(self, path: str, is_it: Callable[[Any], bool]) -> Any:
        """What is there once it is so; each event of the stream is a reason to look again."""
        async with (
            asyncio.timeout(PATIENCE),
            self.client.stream("GET", f"{BASE}/events") as stream,
        ):
            async for line in stream.aiter_lines():
                if line.startswith("data:") and is_it(found := await self.get(path)):
                    return found
        raise AssertionError


def token_in(file: str) -> str:
    return str(json.loads(Path(file).read_text())["operator"])


Call = Callable[[App], Awaitable[Caller]]
