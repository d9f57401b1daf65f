"""The page: what it tells to whom, and each way to get at it from elsewhere."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

from app.callback.access import SIGN_IN, SIGN_OUT
from app.callback.page import routes
from app.callback.page.routes import DATA
from app.callback.tokens import Role
from app.common.rate_limit import RateLimit
from app.state.state import Phase
from tests.support.callback.callbacks import BASE, Served, serving
from tests.support.callback.pages import HOSTILE, PEERS, Shown, joined

READS = ("events", "peers", "machines", "contributions", "log")
CHANGES = ("training/train", "training/rest", "training/pause", "training/resume")


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[Shown]:
    made = Shown(tmp_path / "shown")
    await made.open(machines=120)
    yield made
    await made.close()


@asynccontextmanager
async def wide(folder: Path, **more: Any) -> AsyncIterator[Served]:
    """Served beyond loopback: reading needs a token."""
    async with serving(folder, callback_host="0.0.0.0", **more) as served:
        yield served


async def signed_in(served: Served, role: Role = Role.OPERATOR, **more: Any) -> httpx2.Response:
    """Sign the client in; its cookie jar keeps what comes back."""
    headers = {"Origin": str(served.client.base_url).rstrip("/"), **more}
    body = {"token": served.tokens.of(role)}
    return await served.client.post(SIGN_IN, json=body, headers=headers)


def from_here(served: Served) -> dict[str, str]:
    return {"Origin": str(served.client.base_url).rstrip("/")}


# --- what is open to all


async def test_page_is_there_without_a_token_and_tells_nothing(tmp_path: Path) -> None:
    async with wide(tmp_path / "data", alias="my-secret-name") as served:
        joined(served.session)
        page = await served.get("/")
        assert page.status_code == 200
        assert "my-secret-name" not in page.text
        assert "run" not in page.text.split("<main")[0]
        for name in ("app.js", "style.css", "en.json", "zh-CN.json", "app.svg"):
            assert (await served.get(f"/page/{name}")).status_code == 200
        me = (await served.get("/page/me")).json()
        assert me == {"role": "anybody", "may_read": False, "lists": ["peers"]}
        for name in READS:
            assert (await served.get(f"{DATA}/{name}")).status_code == 401, name
        for name in CHANGES:
            reply = await served.client.post(f"{DATA}/{name}", headers=from_here(served))
            assert reply.status_code == 401


async def test_page_allows_a_browser_nothing_from_elsewhere(served: Served) -> None:
    for path in ("/", "/page/app.js", "/page/style.css"):
        reply = await served.get(path)
        policy = dict(
            part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; ")
        )
        assert (
            policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        )
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["referrer-policy"] == "same-origin"
    page = (await served.get("/")).text
    assert "http" not in page.replace("http-equiv", "")
    for inline in ("<style", " style=", "<script>", " onclick=", "javascript:"):
        assert inline not in page


async def test_head_is_get_without_the_body(served: Served) -> None:
    for path in ("/", "/page/app.js"):
        reply = await served.client.head(path)
        assert (reply.status_code, reply.content) == (200, b"")
        assert reply.headers["etag"] == (await served.get(path)).headers["etag"]


async def test_file_that_a_browser_has_is_not_sent_again(served: Served) -> None:
    tag = (await served.get("/page/app.js")).headers["etag"]
    again = await served.get("/page/app.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


NOT_OURS = (
    "/page/../tokens.py",
    "/page/..%2fcallback-tokens.json",
    "/page/%2e%2e%2f%2e%2e%2fmain.py",
    "/page/..%5c..%5cmain.py",
    "/page//etc/passwd",
    "/page/%2fetc%2fpasswd",
    "/page/index.html%00.js",
    "/page/",
    "/page/index.html",
    "/page/app.js/",
)


async def test_only_the_pages_own_files_have_a_name(served: Served) -> None:
    for path in NOT_OURS:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        reply = await served.raw(request.encode())
        assert reply.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), path


async def test_language_is_the_links_then_the_cookies_then_the_browsers(served: Served) -> None:
    asked = {"Accept-Language": "fr;q=0.9, zh-TW;q=0.8, en;q=0.1"}
    assert 'lang="zh-CN"' in (await served.get("/", headers=asked)).text
    english = await served.get("/?language=en", headers=asked)
    assert 'lang="en"' in english.text
    assert 'lang="en"' in (await served.get("/", headers=asked)).text  # the cookie
    assert "SameSite=strict" in english.headers["set-cookie"]
    served.client.cookies.clear()
    for odd in ("", "x;q=9", ";;,,", "zh;q=0", "*"):
        assert 'lang="en"' in (await served.get("/", headers={"Accept-Language": odd})).text


# --- signing in


async def test_signing_in_keeps_no_token_in_the_browser(tmp_path: Path, shown: Shown) -> None:
    async with wide(tmp_path / "data", sources=shown.sources) as served:
        reply = await signed_in(served, Role.VIEWER)
        cookie = reply.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert "Domain" not in cookie
        assert served.tokens.of(Role.VIEWER) not in cookie
        assert cookie.startswith(f"cotrain-{served.port}=")
        me = (await served.get("/page/me")).json()
        assert (me["role"], me["may_read"]) == ("viewer", True)
        assert me["lists"] == ["peers", "machines", "contributions", "log"]
        assert (await served.get(f"{BASE}/status")).status_code == 200
        assert (await served.get(f"{DATA}/machines")).status_code == 200
        refused = await served.client.post(f"{BASE}/start", headers=from_here(served))
        assert refused.status_code == 403
        assert (await served.get(f"{DATA}/log")).status_code == 403
        await served.client.post(SIGN_OUT, headers=from_here(served))
        assert (await served.get(f"{BASE}/status")).status_code == 401


async def test_cookie_is_for_https_alone_where_there_is_https(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    key, certificate, root = (tmp_path / name for name in ("key.pem", "cert.pem", "root.pem"))
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(certificate)
    authority.cert_pem.write_to_path(root)
    settings = {"callback_certificate": str(certificate), "callback_key": str(key)}
    async with serving(tmp_path / "data", **settings) as served:
        trusting = ssl.create_default_context(cafile=str(root))
        async with httpx2.AsyncClient(base_url=served.url, verify=trusting, timeout=60) as client:
            body = {"token": served.tokens.of(Role.OPERATOR)}
            reply = await client.post(SIGN_IN, json=body, headers={"Origin": served.url})
            assert "Secure" in reply.headers["set-cookie"].split("; ")
            assert (await client.post(f"{BASE}/stop", headers={"Origin": served.url})).is_success


async def test_operator_trains_and_stops(served: Served) -> None:
    await signed_in(served)
    headers = from_here(served)
    joined(served.session, trains=False)
    assert (await served.client.post(f"{DATA}/training/train", headers=headers)).status_code == 200
    assert served.session.store.state.phase is Phase.PREPARING
    for name, paused in (("pause", True), ("resume", False)):
        reply = await served.client.post(f"{DATA}/training/{name}", headers=headers)
        assert reply.status_code == 200
        assert served.session.store.state.paused_by_user is paused
    assert (await served.client.post(f"{DATA}/training/die", headers=headers)).status_code == 422
    assert (await served.client.post(f"{DATA}/training/rest", headers=headers)).status_code == 200
    assert served.session.store.state.phase is Phase.WATCHING
    assert (await served.client.post(f"{BASE}/stop", headers=headers)).status_code == 200
    calls = [(line["message"], line["role"], line["outcome"]) for line in served.audit()]
    assert calls[0] == (f"POST {SIGN_IN}", "operator", "allowed")
    assert (f"POST {DATA}/training/train", "operator", "allowed") in calls
    assert (
        served.tokens.of(Role.OPERATOR)
        not in (served.session.folders.logs / "audit.log").read_text()
    )


async def test_program_with_a_token_does_not_start_training_without_a_task(served: Served) -> None:
    joined(served.session, trains=False)
    for name in CHANGES:
        assert (await served.post(f"{DATA}/{name}")).status_code == 403
    assert served.session.store.state.phase is Phase.WATCHING


async def test_renewed_token_signs_out_who_signed_in_with_it(served: Served) -> None:
    await signed_in(served)
    served.tokens.renew(Role.VIEWER)
    assert (await served.get("/page/me")).json()["role"] == "operator"
    served.tokens.renew(Role.OPERATOR)
    assert (await served.get("/page/me")).json()["role"] == "anybody"


async def test_signing_out_ends_the_secret_and_not_only_the_cookie(served: Served) -> None:
    await signed_in(served)
    stolen = dict(served.client.cookies)
    reply = await served.client.post(SIGN_OUT, headers=from_here(served))
    assert "Max-Age=0" in reply.headers["set-cookie"]
    served.client.cookies.clear()
    cookie = "; ".join(f"{name}={value}" for name, value in stolen.items())
    assert (await served.get("/page/me", headers={"Cookie": cookie})).json()["role"] == "anybody"


async def test_bearer_goes_before_a_cookie(served: Served) -> None:
    await signed_in(served)
    assert (await served.post(f"{BASE}/start", role=Role.VIEWER)).status_code == 403
    wrong = {"Authorization": "Bearer wrong"}
    assert (await served.get(f"{BASE}/status", headers=wrong)).status_code == 401


# --- attacks


@pytest.fixture
def time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit fills up again, however long the requests take on a busy machine."""
    monkeypatch.setattr(routes, "RateLimit", partial(RateLimit, clock=lambda: 0.0))


async def test_tokens_cannot_be_guessed_in_numbers(time_stands_still: None, served: Served) -> None:
    headers = from_here(served)
    statuses = []
    for number in range(routes.MOST_TRIES_AT_ONCE + 5):
        reply = await served.client.post(SIGN_IN, json={"token": f"x{number}"}, headers=headers)
        statuses.append(reply.status_code)
    assert statuses == [401] * routes.MOST_TRIES_AT_ONCE + [429] * 5
    assert (await signed_in(served)).status_code == 429  # also with the right one
    assert [line["status"] for line in served.audit()][: len(statuses)] == statuses
    assert served.audit()[0]["reason"] == "This token is not, or no longer, valid."


async def test_nonsense_does_not_sign_in(served: Served) -> None:
    headers = {**from_here(served), "Content-Type": "application/json"}
    for body in (b"{", b"[]", b'{"token": 1}', b'{"token": "\\ud800"}', b"{}", b""):
        reply = await served.client.post(SIGN_IN, content=body, headers=headers)
        assert reply.status_code in (400, 401, 422), body


async def test_another_page_cannot_use_the_cookie(tmp_path: Path) -> None:
    """Also one of the same host: a browser sends it the cookie, whatever its port."""
    settings = {"callback_origins": ("https://cotrain.example",)}
    async with serving(tmp_path / "data", **settings) as served:
        await signed_in(served)
        for origin in ("http://127.0.0.1:3000", "https://evil.example", "null", None,
                       "https://cotrain.example"):  # fmt: skip
            for path in (f"{BASE}/start", f"{DATA}/training/train", SIGN_OUT):
                for kind in ("application/json", "text/plain"):
                    headers = {"Content-Type": kind} | ({"Origin": origin} if origin else {})
                    reply = await served.client.post(path, content=b"", headers=headers)
                    assert reply.status_code in (401, 403), (origin, path, kind)
        site = {"Sec-Fetch-Site": "same-site"}
        assert (await served.get(f"{DATA}/log", headers=site)).status_code == 403
        allowed = {"Origin": "https://cotrain.example"}
        assert (await served.get(f"{DATA}/log", headers=allowed)).status_code == 403
        assert served.session.store.state.phase is Phase.DISCONNECTED
        assert (await served.get("/page/me")).json()["role"] == "operator"


async def test_another_page_cannot_sign_a_browser_in(served: Served) -> None:
    body = {"token": served.tokens.of(Role.OPERATOR)}
    for origin in ({}, {"Origin": "http://127.0.0.1:3000"}):
        reply = await served.client.post(SIGN_IN, json=body, headers=origin)
        assert reply.status_code == 403
        assert "set-cookie" not in reply.headers
    form = {**from_here(served), "Content-Type": "application/x-www-form-urlencoded"}
    reply = await served.client.post(SIGN_IN, content=b"token=x", headers=form)
    assert reply.status_code == 415


async def test_link_from_elsewhere_opens_the_page_and_a_frame_does_not(served: Served) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    link = {**elsewhere, "Sec-Fetch-Dest": "document"}
    assert (await served.get("/", headers=link)).status_code == 200
    assert (await served.get("/", headers={**link, "Sec-Fetch-Dest": "iframe"})).status_code == 403
    assert (await served.get("/", headers={**link, "Sec-Fetch-Mode": "no-cors"})).status_code == 403
    assert (await served.get(f"{BASE}/status", headers=link)).status_code == 403
    assert (await served.get("/page/app.js", headers=link)).status_code == 403


async def test_name_of_another_host_gets_no_page(served: Served) -> None:
    """DNS rebinding."""
    for path in ("/", "/page/me", f"{DATA}/machines"):
        reply = await served.get(path, headers={"Host": f"evil.example:{served.port}"})
        assert reply.status_code == 421


async def test_large_body_is_refused_before_it_is_read(served: Served) -> None:
    headers = {**from_here(served), "Content-Type": "application/json"}
    body = b'{"token": "' + b"x" * 10_000_000 + b'"}'
    request = (
        f"POST {SIGN_IN} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        f"Origin: {headers['Origin']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    assert (await served.raw(request.encode())).startswith(b"HTTP/1.1 413")
    long = {"token": "x" * 10_000}
    assert (await served.client.post(SIGN_IN, json=long, headers=headers)).status_code == 422


async def test_cookies_of_any_kind_are_survived(served: Served) -> None:
    name = f"cotrain-{served.port}"
    for cookie in (f"{name}=", f"{name}", "=;;=", f"{name}=é", f"{name}=a; {name}=b", "x" * 8000):
        reply = await served.get("/page/me", headers={"Cookie": cookie.encode("latin-1")})
        assert reply.json()["role"] == "anybody"


@pytest.mark.parametrize("path", [f"{DATA}/events", f"{BASE}/events"])
async def test_there_are_only_so_many_streams(served: Served, path: str) -> None:
    """200 browsers at the same moment."""
    lines = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    callers = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(200)]
    try:
        for caller in callers:
            caller.setblocking(False)
            caller.sendall(lines)
        loop = asyncio.get_running_loop()
        begins = [await loop.sock_recv(caller, 12) for caller in callers]
        assert begins.count(b"HTTP/1.1 200") == 16
        assert begins.count(b"HTTP/1.1 409") == 184
        assert (await served.get(f"{BASE}/status")).status_code == 200
    finally:
        for caller in callers:
            caller.close()


async def test_a_program_s_stream_ends_with_its_token(tmp_path: Path) -> None:
    async with wide(tmp_path / "data") as served:
        headers = {"Authorization": f"Bearer {served.tokens.of(Role.VIEWER)}"}
        async with served.client.stream("GET", f"{BASE}/events", headers=headers) as reply:
            lines = reply.aiter_lines()
            await anext(lines)
            served.tokens.renew(Role.VIEWER)
            served.session.sees_peer(last_seen=1.0)  # which it would be told
            async with asyncio.timeout(10):
                async for _ in lines:  # to the end
                    pass


@pytest.mark.parametrize("how", ["sign-out", "renewed", "closing"])
async def test_stream_ends_with_the_right_to_read(tmp_path: Path, how: str) -> None:
    async with wide(tmp_path / "data") as served:
        await signed_in(served, Role.VIEWER)
        async with served.client.stream("GET", f"{DATA}/events") as reply:
            lines = reply.aiter_lines()
            await anext(lines)
            if how == "sign-out":
                await served.client.post(SIGN_OUT, headers=from_here(served))
            elif how == "renewed":
                served.tokens.renew(Role.VIEWER)
            else:
                await asyncio.wait_for(served.callback.close(), 30)
            async with asyncio.timeout(10):
                async for _ in lines:  # to the end
                    pass


async def test_place_of_a_stream_is_free_again_when_its_browser_has_gone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.callback.page.stream.MOST_PAGES", 1)
    for _ in range(3):
        async with asyncio.timeout(20):
            while True:  # the app hears of it a moment later
                async with served.client.stream("GET", f"{DATA}/events") as reply:
                    if reply.status_code == 200:
                        await anext(reply.aiter_lines())
                        break


# --- what it shows


async def test_tables_are_sorted_filtered_and_cut_by_the_app(tmp_path: Path, shown: Shown) -> None:
    async with serving(tmp_path / "data", sources=shown.sources) as served:
        whole = (await served.get(f"{DATA}/machines")).json()
        assert (whole["total"], whole["matching"], len(whole["rows"])) == (120, 120, 50)
        assert whole["sums"]["machines"] == 120
        query = {"sort": "loss", "descending": True, "text": "VISION", "offset": 2, "limit": 3}
        some = (await served.get(f"{DATA}/machines", params=query)).json()
        assert 3 < some["matching"] < 120
        assert [row["lab"] for row in some["rows"]] == ["vision-lab"] * 3
        losses = [row["loss"] for row in some["rows"]]
        assert losses == sorted(losses, reverse=True)
        for wrong in ({"sort": "public_key"}, {"limit": 101}, {"offset": -1}, {"text": "x" * 201}):
            assert (await served.get(f"{DATA}/machines", params=wrong)).status_code == 422
        joined(served.session)
        peers = (await served.get(f"{DATA}/peers", params={"sort": "peer_id"})).json()
        assert (peers["total"], peers["rows"][0]["connected"]) == (PEERS, True)
        given = (await served.get(f"{DATA}/contributions")).json()
        assert (given["sums"]["contributions"], len(given["rows"])) == (3, 3)
        assert given["reporting"]["status"] == "off"


async def test_log_is_the_operators_and_has_no_secrets(tmp_path: Path, shown: Shown) -> None:
    async with serving(tmp_path / "data", sources=shown.sources) as served:
        assert (await served.get(f"{DATA}/log")).status_code == 403
        await signed_in(served)
        rows = (await served.get(f"{DATA}/log")).json()["rows"]
        assert [row["text"] for row in rows] == [
            "the trainer is slow, token=[redacted]",
            f"joined {HOSTILE}",
        ]
        warnings = await served.get(f"{DATA}/log", params={"level": 30, "text": "SLOW"})
        assert len(warnings.json()["rows"]) == 1


async def test_events_begin_with_the_state_and_the_curves(served: Served) -> None:
    joined(served.session)
    async with served.client.stream("GET", f"{DATA}/events?seconds=600") as reply:
        lines = reply.aiter_lines()
        found: dict[str, Any] = {}
        async for line in lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found[name] = json.loads(line.removeprefix("data: "))
            if len(found) == 2:
                break
    assert found["state"]["swarm"]["title"] == HOSTILE
    assert (found["state"]["connected_peers"], found["state"]["dht_size"]) == (PEERS, PEERS + 1)
    assert found["curves"]["curves"]["loss"][0][1] == 2.5
