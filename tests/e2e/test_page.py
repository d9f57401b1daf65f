"""The page in a real Chromium: what a user sees, and what pages of others can't do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.callback.page.routes import DATA
from app.callback.tokens import Role
from app.state.state import Phase
from tests.support.callback.browser import CHROMIUM, DRIVER, Browser, browsing
from tests.support.callback.callbacks import BASE, Served, serving
from tests.support.callback.pages import HOSTILE, PEERS, Shown, joined

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="needs Debian's chromium and chromium-driver"
    ),
]

TAB, ENTER = "\ue004", "\ue007"


@asynccontextmanager
async def seen(
    folder: Path, *, machines: int = 3, language: str = "en", **settings: Any
) -> AsyncIterator[tuple[Served, Browser, str]]:
    """A served page, and a browser that has opened nothing yet."""
    shown = Shown(folder / "shown")
    await shown.open(machines=machines)
    try:
        async with (
            serving(folder / "data", sources=shown.sources, **settings) as served,
            browsing(folder / "profile", language=language) as browser,
        ):
            await browser.size(1280, 800)
            yield served, browser, str(served.client.base_url).rstrip("/")
    finally:
        await shown.close()


async def headline(browser: Browser, wanted: str) -> None:
    await browser.until(f"return document.querySelector('#headline').textContent === '{wanted}'")


async def sign_in(served: Served, browser: Browser, role: Role) -> None:
    await browser.until("return document.activeElement.id === 'token'")
    await browser.type("#token", served.tokens.of(role) + ENTER)
    await browser.until("return document.querySelector('#role').textContent")


async def test_operator_signs_in_starts_and_stops_by_keyboard(tmp_path: Path) -> None:
    async with seen(tmp_path, callback_host="0.0.0.0") as (served, browser, url):
        await browser.go(url)
        await browser.until("return document.activeElement.id === 'token'")
        assert "lab-07" not in await browser.text("body")
        await browser.type("#token", "wrong" + ENTER)
        await browser.until("return !document.querySelector('#sign-in-failed').hidden")
        assert "not, or no longer, valid" in await browser.text("#sign-in-failed")
        assert len(await browser.said()) == 1  # the browser itself notes the 401
        await sign_in(served, browser, Role.OPERATOR)
        await headline(browser, "Not in a swarm")
        assert await browser.run("return document.cookie + localStorage.length") == "0"
        await browser.run("document.querySelector('#primary').focus()")
        await browser.keys(ENTER)  # Start
        await headline(browser, "Watching")
        joined(served.session, trains=False)
        await browser.until(
            "return document.querySelector('#primary').textContent === 'Start training'"
        )
        await browser.click("#primary")
        await headline(browser, "Preparing")
        served.session.trainer_reports(epoch=3, samples=40)
        await headline(browser, "Training")
        facts = await browser.text("#server-facts")
        for fact in ("Running", str(PEERS), str(PEERS + 1), served.session.store.state.peer_id):
            assert fact in facts
        assert HOSTILE in await browser.text("#what")
        await browser.click("#secondary")  # Pause
        await browser.until("return document.querySelector('#secondary').textContent === 'Resume'")
        await browser.click("#secondary")
        await browser.until("return document.querySelector('#secondary').textContent === 'Pause'")
        await browser.click("#primary")  # Stop training
        await headline(browser, "Watching")
        await browser.click("#tertiary")  # Leave the swarm
        await headline(browser, "Not in a swarm")
        await browser.click("#sign-out")
        await browser.until("return document.querySelector('#overview').hidden")
        assert await browser.said() == []


async def test_viewer_sees_all_but_the_log_and_has_no_buttons(tmp_path: Path) -> None:
    async with seen(tmp_path, callback_host="0.0.0.0") as (served, browser, url):
        joined(served.session)
        await browser.go(url)
        await sign_in(served, browser, Role.VIEWER)
        await headline(browser, "Training")
        assert await browser.run("return document.querySelector('#primary').disabled")
        await browser.run("location.hash = '#log'")
        await browser.until("return !document.querySelector('#log').hidden")
        assert "operator's token" in await browser.text("#log")
        assert "joined" not in await browser.text("#log")
        await browser.run("location.hash = '#contributions'")
        await browser.until(
            "return document.querySelectorAll('#contributions tbody tr').length === 3"
        )
        assert await browser.said() == []


async def test_texts_of_others_stay_texts(tmp_path: Path) -> None:
    async with seen(tmp_path) as (served, browser, url):
        joined(served.session)
        await browser.go(url)
        await headline(browser, "Training")
        for section in ("peers", "machines"):
            await browser.run(f"location.hash = '#{section}'")
            await browser.until(f"return document.querySelector('#{section} tbody tr')")
        found = await browser.run(
            "return [document.images.length, document.scripts.length, document.title]"
        )
        assert found == [1, 1, "Training – lab-07"]
        assert await browser.said() == []


async def test_five_thousand_machines_do_not_stop_the_page(tmp_path: Path) -> None:
    async with seen(tmp_path, machines=5000) as (_served, browser, url):
        await browser.go(f"{url}/#machines")
        await browser.until("return document.querySelectorAll('#machines tbody tr').length === 50")
        await browser.run(
            "window.longest = 0; new PerformanceObserver((list) => { for (const each of"
            " list.getEntries()) window.longest = Math.max(window.longest, each.duration) })"
            ".observe({ type: 'longtask', buffered: true })"
        )
        assert "5,000" in await browser.text("#machine-sums")
        await browser.click("#machines th:nth-child(4) button")  # by loss
        await browser.until(
            "return document.querySelector('#machines th:nth-child(4)').ariaSort === 'ascending'"
        )
        losses = await browser.run(
            "return [...document.querySelectorAll('#machines tbody tr')].map("
            "(row) => Number(row.cells[3].textContent))"
        )
        assert losses == sorted(losses)
        await browser.type("#filter-machines", "machine-4999")
        await browser.until("return document.querySelectorAll('#machines tbody tr').length === 1")
        assert "1–1 of 1" in await browser.text("#machines .filters")
        assert await browser.run("return window.longest") < 1000


async def test_charts_are_drawn_and_read_by_keyboard(tmp_path: Path) -> None:
    async with seen(tmp_path) as (served, browser, url):
        joined(served.session)
        now = time.time()
        for second in range(300, 1, -1):
            served.session.history.samples_per_second.add(now - second, 80.0)
        await browser.go(url)
        path = "return document.querySelector('figure:nth-of-type(2) path.own')?.getAttribute('d')"
        assert len(await browser.until(path)) > 1000
        await browser.run("document.querySelector('figure:nth-of-type(2) svg').focus()")
        await browser.keys(*["\ue012"] * 5)  # to the left
        label = await browser.run("return document.activeElement.getAttribute('aria-label')")
        assert "This machine 80.0" in label
        await browser.click("#spans button:nth-child(3)")
        await browser.until(
            "return document.querySelector('[aria-pressed=true]').dataset.seconds === '86400'"
        )
        await browser.until(path)


@pytest.mark.parametrize("dark", [False, True])
async def test_chinese_on_a_phone_fits_and_everything_has_a_name(
    tmp_path: Path, dark: bool
) -> None:
    async with seen(tmp_path, language="zh-CN") as (served, browser, url):
        joined(served.session)
        await browser.size(390, 844, dark=dark)
        await browser.go(url)
        await headline(browser, "训练中")
        for section in ("overview", "peers", "machines", "contributions", "log", "sign-in"):
            await browser.run(f"location.hash = '#{section}'")
            await browser.until(f"return !document.querySelector('#{section}').hidden")
            assert await browser.run("return document.documentElement.scrollWidth") <= 390, section
        tree = await browser.devtools("Accessibility.getFullAXTree")
        nameless = [
            node["role"]["value"]
            for node in tree["nodes"]
            if not node.get("ignored")
            and node["role"]["value"] in {"button", "link", "textbox", "searchbox", "combobox"}
            and not node.get("name", {}).get("value")
        ]
        assert nameless == []
        background = await browser.run("return getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(21, 24, 29)" if dark else "rgb(244, 245, 247)")
        await browser.click("a[hreflang=en]")
        await headline(browser, "Training")
        assert await browser.said() == []


async def test_page_of_another_server_on_this_host_can_do_nothing(tmp_path: Path) -> None:
    """It shares the cookies: they know no port."""
    async with seen(tmp_path) as (served, browser, url):
        cookies: list[str] = []

        async def evil(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:  # a browser opens connections beforehand
                writer.close()
                return
            cookies.extend(line for line in head.splitlines() if line.startswith("Cookie:"))
            page = (
                f'<form method=post action="{url}{BASE}/start"><input name=a></form>'
                f'<iframe src="{url}/"></iframe><img src="{url}/page/app.svg">'
            ).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(page), page))
            await writer.drain()
            writer.close()

        await browser.go(f"{url}/#sign-in")
        await sign_in(served, browser, Role.OPERATOR)
        async with await asyncio.start_server(evil, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await browser.go(f"http://127.0.0.1:{port}/")
            outcome = await browser.command(
                "POST",
                "execute/async",
                {
                    "script": "const [url, done] = arguments;"
                    "const tries = [fetch(url + '/api/v1/hivemind/start', {method: 'POST',"
                    " credentials: 'include'}), fetch(url + '/api/v1/hivemind/start', {method:"
                    " 'POST', mode: 'no-cors', credentials: 'include', body: ''}).then((reply) =>"
                    " reply.type), fetch(url + '/api/v1/page/log', {credentials: 'include'})];"
                    "Promise.allSettled(tries).then((all) => done(all.map((each) => each.value ??"
                    " each.status)))",
                    "args": [url],
                },
            )
            assert outcome == ["rejected", "opaque", "rejected"]
            framed = await browser.run(
                "try { return document.querySelector('iframe').contentDocument !== null }"
                " catch { return true }"
            )
            assert not framed
            await browser.run("document.forms[0].submit()")
            await browser.until(f"return document.body && location.port !== '{port}'")
        assert served.session.store.state.phase is Phase.DISCONNECTED
        assert cookies  # it did get the cookie ...
        assert served.tokens.of(Role.OPERATOR) not in "".join(cookies)  # ... but no token
        audit = [line for line in served.audit() if line["message"].endswith("/start")]
        assert {line["status"] for line in audit} == {403}
        assert (await served.get(f"{DATA}/log")).status_code == 403
