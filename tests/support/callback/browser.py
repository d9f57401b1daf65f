"""A real Chromium, driven by chromedriver's own protocol (W3C WebDriver): no library is needed."""

import asyncio
import base64
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Key of an element's reference, by the standard."""


class Browser:
    """One window. Elements are named by CSS selectors."""

    def __init__(self, client: httpx2.AsyncClient, session: str) -> None:
        self._client = client
        self._session = session

    async def command(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self._client.request(
            method, f"/session/{self._session}/{path}", json=body if method == "POST" else None
        )
        value = reply.json()["value"]
        assert reply.status_code == 200, value
        return value

    async def go(self, url: str) -> None:
        await self.command("POST", "url", {"url": url})

    async def run(self, script: str, *arguments: Any) -> Any:
        """The value that the body of a function returns, in the page."""
        return await self.command("POST", "execute/sync", {"script": script, "args": arguments})

    async def devtools(self, name: str, **parameters: Any) -> Any:
        return await self.command("POST", "goog/cdp/execute", {"cmd": name, "params": parameters})

    async def _element(self, selector: str) -> str:
        body = {"using": "css selector", "value": selector}
        found: dict[str, str] = await self.command("POST", "element", body)
        return found[ELEMENT]

    async def click(self, selector: str) -> None:
        await self.command("POST", f"element/{await self._element(selector)}/click", {})

    async def type(self, selector: str, text: str) -> None:
        element = await self._element(selector)
        await self.command("POST", f"element/{element}/value", {"text": text})

    async def keys(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        await self.command("POST", "actions", body)

    async def text(self, selector: str) -> str:
        """The text that is to be seen."""
        return str(await self.command("GET", f"element/{await self._element(selector)}/text"))

    async def until(self, script: str, *arguments: Any) -> Any:
        """Wait, in the page, until the body of a function returns something true."""
        waiting = (
            "const done = arguments[arguments.length - 1];"
            f"const is = () => {{ {script} }};"
            "const look = () => { const found = is(); found ? done(found) : setTimeout(look, 50) };"
            "look();"
        )
        return await self.command("POST", "execute/async", {"script": waiting, "args": arguments})

    async def size(self, width: int, height: int, *, dark: bool = False) -> None:
        await self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, file: Path) -> None:
        made = await self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(made["data"]))

    async def said(self) -> list[str]:
        """What the page has written to the browser's console since the last call."""
        lines = await self.command("POST", "se/log", {"type": "browser"})
        return [str(line["message"]) for line in lines]


@asynccontextmanager
async def browsing(folder: Path, *, language: str = "en") -> AsyncIterator[Browser]:
    """Start a browser with an empty profile; ends it afterwards."""
    assert CHROMIUM is not None
    assert DRIVER is not None
    process = await asyncio.create_subprocess_exec(
        *(DRIVER, "--port=0"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        while not (
            found := re.search(rb"successfully on port (\d+)", await process.stdout.readline())
        ):
            pass
        url = f"http://127.0.0.1:{int(found[1])}"
        async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            reply = await client.post("/session", json=_wanted(folder, language))
            assert reply.status_code == 200, reply.text
            browser = Browser(client, reply.json()["value"]["sessionId"])
            try:
                yield browser
            finally:
                await client.delete(f"/session/{browser._session}")
    finally:
        process.terminate()
        await process.wait()


def _wanted(folder: Path, language: str) -> dict[str, Any]:
    arguments = [
        "--headless=new",
        "--no-sandbox",  # tests run as root in a container
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--force-prefers-reduced-motion",
        f"--user-data-dir={folder}",
        f"--accept-lang={language}",
        "--no-proxy-server",
    ]
    options = {"binary": CHROMIUM, "args": arguments}
    wanted = {
        "browserName": "chrome",
        "acceptInsecureCerts": True,
        "timeouts": {"script": 50_000},
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    return {"capabilities": {"alwaysMatch": wanted}}
