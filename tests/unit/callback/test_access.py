"""Who may call: each test attacks."""

import asyncio
import os
import stat
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

from app.callback import access
from app.callback.access import MAX_BODY_BYTES
from app.callback.http import ImpatientProtocol
from app.callback.server import Callback
from app.callback.tokens import ApiTokens, Role
from app.common.errors import SettingsError
from app.common.logs import AuditLog
from app.common.rate_limit import MOST_CALLERS, RateLimit
from app.state.state import Phase
from tests.support.callback.callbacks import BASE, Served, serving
from tests.support.processes.sessions import train_body

CHANGES = ("start", "stop", "peers/connect", "train")
READS = ("/health", "/metrics", "/docs", "/openapi.json", f"{BASE}/status", f"{BASE}/peers")


HALF_A_BODY = (
    b"POST /api/v1/hivemind/train HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Authorization: Bearer TOKEN\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n{"
)


# --- a page from elsewhere -----------------------------------------------------------------------


async def test_simple_post_of_a_page_changes_nothing(served: Served) -> None:
    """What a page may send without asking first; even with a token that it got hold of."""
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "file://", ""):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json", None):
            headers = {"Origin": origin, **served.as_(Role.OPERATOR)}
            if kind is not None:
                headers["Content-Type"] = kind
            reply = await served.client.post(f"{BASE}/start", content=b"", headers=headers)
            assert reply.status_code == 403, (origin, kind)
            assert "access-control-allow-origin" not in reply.headers
    assert served.session.store.state.phase is Phase.DISCONNECTED


async def test_nothing_may_be_called_a_form(served: Served) -> None:
    """As axios does with a POST that has no body."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await served.post(f"{BASE}/start", headers=form)).status_code == 200


async def test_form_without_an_origin_changes_nothing(served: Served) -> None:
    headers = {**served.as_(Role.OPERATOR), "Content-Type": "text/plain"}
    body = httpx2.Request("POST", "http://x", json=train_body()).content
    reply = await served.client.post(f"{BASE}/train", content=body, headers=headers)
    assert reply.status_code == 415
    assert served.tasks.active is None


async def test_request_that_a_browser_says_is_foreign(served: Served) -> None:
    """An image or a script tag sends no origin, but a browser says where it comes from."""
    for site in ("cross-site", "same-site", "odd"):
        reply = await served.get(f"{BASE}/status", headers={"Sec-Fetch-Site": site})
        assert reply.status_code == 403


async def test_preflight_of_a_foreign_page_allows_nothing(served: Served) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    reply = await served.client.options(f"{BASE}/train", headers=headers)
    assert reply.status_code == 403
    assert not [name for name in reply.headers if name.startswith("access-control-allow")]


async def test_page_that_is_allowed_can_read_and_ask(tmp_path: Path) -> None:
    origin = "https://cotrain.example"
    async with serving(tmp_path / "data", callback_origins=(origin,)) as served:
        asking = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
            "Access-Control-Request-Private-Network": "true",
        }
        preflight = await served.client.options(f"{BASE}/train", headers=asking)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        assert preflight.headers["access-control-allow-private-network"] == "true"
        reply = await served.get(f"{BASE}/status", headers={"Origin": origin})
        assert reply.headers["access-control-allow-origin"] == origin
        refused = await served.client.post(f"{BASE}/start", headers={"Origin": origin})
        assert refused.status_code == 401  # an origin is no token
        assert refused.headers["access-control-allow-origin"] == origin
        other = await served.get(f"{BASE}/status", headers={"Origin": "https://other.example"})
        assert other.status_code == 403


async def test_our_own_page_may_call(served: Served) -> None:
    reply = await served.post(f"{BASE}/start", headers={"Origin": served.url})
    assert reply.status_code == 200


# --- DNS rebinding -------------------------------------------------------------------------------


FOREIGN_NAMES = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example",
    "127.0.0.1:{port}@evil.example",
    "evil.example#127.0.0.1",
    "10.0.0.7:{port}",
    "0.0.0.0:{port}",
    "[::2]:{port}",
    "127.0.0.1:x",
    "",
    "127.0.0.1/evil",
)


async def test_name_that_is_not_ours_is_refused(served: Served) -> None:
    token = served.tokens.of(Role.OPERATOR)
    for host in FOREIGN_NAMES:
        for line in (f"GET {BASE}/status", f"POST {BASE}/start"):
            request = (
                f"{line} HTTP/1.1\r\nHost: {host.format(port=served.port)}\r\n"
                f"Authorization: Bearer {token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            reply = await served.raw(request.encode())
            assert reply.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400")), (host, reply)
    assert served.session.store.state.phase is Phase.DISCONNECTED


async def test_names_of_loopback_are_ours(served: Served) -> None:
    for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.5.5.5", "[::1]"):
        for port in ("", f":{served.port}", ":9999"):
            reply = await served.get(f"{BASE}/status", headers={"Host": host + port})
            assert reply.status_code == 200, (host, port)


async def test_odd_hosts_are_refused(served: Served) -> None:
    for lines in (
        "",  # HTTP/1.0 may leave it out
        "Host: 127.0.0.1\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nHost: 127.0.0.1\r\n",
        "Host: evil.example\r\nX-Forwarded-Host: 127.0.0.1\r\n",
    ):
        reply = await served.raw(f"GET {BASE}/status HTTP/1.0\r\n{lines}\r\n".encode())
        assert reply.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400")), (lines, reply)


async def test_name_of_the_settings_is_allowed(tmp_path: Path) -> None:
    async with serving(tmp_path / "d", callback_allowed_hosts=("host.docker.internal",)) as served:
        headers = {"Host": "host.docker.internal:8000"}
        assert (await served.get(f"{BASE}/status", headers=headers)).status_code == 200


# --- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer", 401),
        ("Bearer é".encode("latin-1"), 401),
        ("Basic OPERATOR", 401),
        ("OPERATOR", 401),
        ("Bearer OPERATORx", 401),
        ("Bearer VIEWER", 403),
    ],
)
async def test_changing_needs_the_operators_token(
    served: Served, authorization: Any, status: int
) -> None:
    headers: dict[str, Any] = {}
    if isinstance(authorization, str):
        for role in (Role.OPERATOR, Role.VIEWER):
            authorization = authorization.replace(role.name, served.tokens.of(role))
    if authorization is not None:
        headers["Authorization"] = authorization
    for path in CHANGES:
        reply = await served.client.post(f"{BASE}/{path}", json=train_body(), headers=headers)
        assert reply.status_code == status, path
        assert isinstance(reply.json()["detail"], str)
        assert (reply.headers.get("www-authenticate") == "Bearer") is (status == 401)
    assert served.session.store.state.phase is Phase.DISCONNECTED
    assert served.tasks.active is None


async def test_two_tokens_are_none(served: Served) -> None:
    token = served.tokens.of(Role.OPERATOR)
    headers = [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer wrong")]
    assert (await served.client.post(f"{BASE}/start", headers=headers)).status_code == 401


async def test_every_other_method_needs_it_too(served: Served) -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "BREW", "get"):
        reply = await served.raw(
            f"{method} {BASE}/status HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode()
        )
        assert reply.startswith(b"HTTP/1.1 401"), method


async def test_reading_is_open_on_loopback(served: Served) -> None:
    for path in READS:
        assert (await served.get(path)).status_code == 200


async def test_wrong_token_is_said_even_where_none_is_needed(served: Served) -> None:
    reply = await served.get(f"{BASE}/status", headers={"Authorization": "Bearer wrong"})
    assert reply.status_code == 401


async def test_renewed_token_counts_at_once_and_the_old_one_no_more(served: Served) -> None:
    old = served.as_(Role.OPERATOR)
    served.tokens.renew(Role.OPERATOR)
    assert (await served.client.post(f"{BASE}/start", headers=old)).status_code == 401
    assert (await served.post(f"{BASE}/start")).status_code == 200


def test_tokens_are_made_once_long_and_private(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    before = os.umask(0)
    try:
        first = ApiTokens(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(first.of(Role.OPERATOR)) >= 43
    assert first.of(Role.OPERATOR) != first.of(Role.VIEWER)
    file.chmod(0o644)
    again = ApiTokens(file)
    assert again.of(Role.OPERATOR) == first.of(Role.OPERATOR)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"operator": ""}', '{"operator": "", "viewer": ""}', '{"operator": 1}'],
)
def test_damaged_tokens_are_made_anew(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(content)
    tokens = ApiTokens(file)
    assert tokens.role_of("") is None
    assert tokens.role_of(tokens.of(Role.VIEWER)) is Role.VIEWER
    assert ApiTokens(file).of(Role.OPERATOR) == tokens.of(Role.OPERATOR)


def test_each_token_is_compared_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, _ours: bytes) -> bool:
        compared.append(given)
        return True

    tokens = ApiTokens(tmp_path / "tokens.json")
    monkeypatch.setattr("app.callback.tokens.secrets.compare_digest", compare)
    assert tokens.role_of("guess") is Role.OPERATOR
    assert compared == [b"guess", b"guess"]  # both, whatever the first one said


# --- beyond loopback -----------------------------------------------------------------------------


async def test_beyond_loopback_reading_needs_a_token_too(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", callback_host="0.0.0.0") as served:
        for path in READS:
            expected = 200 if path == "/health" else 401
            assert (await served.get(path)).status_code == expected
            for role in (Role.VIEWER, Role.OPERATOR):
                assert (await served.get(path, headers=served.as_(role))).status_code == 200
        address = await served.get("/health", headers={"Host": "10.0.0.7:8000"})
        assert address.status_code == 200
        name = await served.get("/health", headers={"Host": "evil.example"})
        assert name.status_code == 421


async def test_https_with_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.cert_chain_pems[0].write_to_path(certificate)
    made.private_key_pem.write_to_path(key)
    settings = {"callback_certificate": str(certificate), "callback_key": str(key)}
    async with serving(tmp_path / "data", **settings) as served:
        assert served.url.startswith("https://")
        import ssl

        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with httpx2.AsyncClient(verify=context, trust_env=False, timeout=60) as client:
            assert (await client.get(f"{served.url}/health")).status_code == 200
        with pytest.raises(httpx2.TransportError):
            await served.client.get(served.url.replace("https", "http"))


@pytest.mark.parametrize("given", ["callback_certificate", "callback_key"])
async def test_certificate_without_its_key_is_named(tmp_path: Path, given: str) -> None:
    with pytest.raises(SettingsError) as caught:
        async with serving(tmp_path / "data", **{given: "/a.pem"}):
            pass
    assert caught.value.field in {"callback_certificate", "callback_key"} - {given}


async def test_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = {"callback_certificate": "/no/cert.pem", "callback_key": "/no/key.pem"}
    with pytest.raises(SettingsError) as caught:
        async with serving(tmp_path / "data", **settings):
            pass
    assert caught.value.field == "callback_certificate"


# --- too large, too slow, too often --------------------------------------------------------------


async def test_body_that_says_that_it_is_too_large(served: Served) -> None:
    headers = {**served.as_(Role.OPERATOR), "Content-Type": "application/json"}
    body = b'{"model_config": "' + b"x" * 10_000_000 + b'"}'
    for path in CHANGES:
        reply = await served.client.post(f"{BASE}/{path}", content=body, headers=headers)
        assert reply.status_code == 413
        assert str(MAX_BODY_BYTES) in reply.json()["detail"]


async def test_body_that_does_not_say_its_size_is_counted(served: Served) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield b" " * 10_000

    headers = {**served.as_(Role.OPERATOR), "Content-Type": "application/json"}
    reply = await served.client.post(f"{BASE}/train", content=endless(), headers=headers)
    assert reply.status_code == 413
    assert served.tasks.active is None


async def test_odd_lengths_are_refused(served: Served) -> None:
    for length in ("-1", "1e9", "99999999999999999999999", "٣"):
        request = (
            f"POST {BASE}/start HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
        )
        reply = await served.raw(request.encode())
        assert reply.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), (length, reply)


async def test_head_that_never_ends_is_cut_by_size(served: Served) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000
    reply = await served.raw(request)
    assert reply.startswith(b"HTTP/1.1 400") or not reply  # or the rest of it meets a reset


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"POST /api",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n",
        HALF_A_BODY,
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /hea",
    ],
    ids=["nothing", "a line", "headers", "a body", "a second request"],
)
async def test_slow_request_is_cut(
    served: Served, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    """A slow-loris attack would hold its connection forever."""
    token = served.tokens.of(Role.OPERATOR).encode()

    async def drip() -> None:
        while True:  # some more, again and again, doesn't help
            await asyncio.sleep(0.05)
            writer.write(b"x")

    with monkeypatch.context() as patch:  # the last request has its time
        patch.setattr(ImpatientProtocol, "request_seconds", 0.2)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(beginning.replace(b"TOKEN", token))
        dripping = asyncio.create_task(drip())
        try:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(10_000_000), 60)
        finally:
            dripping.cancel()
            writer.close()
    assert (await served.get("/health")).status_code == 200


async def test_an_answer_may_take_longer_than_a_request(served: Served) -> None:
    async with served.client.stream("GET", f"{BASE}/events") as reply:
        lines = reply.aiter_lines()
        await anext(lines)
        assert served.callback._web is not None
        assert served.callback._web._server is not None
        (connection,) = served.callback._web._server.server_state.connections
        assert isinstance(connection, ImpatientProtocol)
        assert connection._deadline is None
        served.session.sees_peer(last_seen=1.0)
        assert await anext(lines) is not None


@pytest.fixture
def time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit fills up again, however long the requests take on a busy machine."""
    monkeypatch.setattr(access, "RateLimit", partial(RateLimit, clock=lambda: 0.0))


async def test_too_many_changes_are_slowed_down(time_stands_still: None, served: Served) -> None:
    statuses = {(await served.post(f"{BASE}/stop")).status_code for _ in range(52)}
    assert statuses == {200, 429}
    reply = await served.post(f"{BASE}/stop")
    assert int(reply.headers["retry-after"]) >= 1
    assert (await served.get("/health")).status_code == 200  # reading isn't hurt by it


def test_limit_fills_up_again() -> None:
    now = 0.0
    limit = RateLimit(rate=2, burst=3, clock=lambda: now)
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.take("b") == 0
    now = 0.5
    assert [limit.take("a") for _ in range(2)] == [0, 0.5]
    now = 1e9
    assert [limit.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_limit_with_patience_holds_back_before_it_refuses() -> None:
    limit = RateLimit(rate=10, burst=1, patience=0.25, clock=lambda: 0.0)
    waits = [round(limit.take("a"), 3) for _ in range(5)]
    assert waits == [0, 0.1, 0.2, 0.3, 0.3]  # the last two are refused and don't count


async def test_reads_beyond_the_limit_are_held_back(
    time_stands_still: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "READS_PER_SECOND", 10)
    async with serving(tmp_path / "data") as served:
        asking = [served.get(f"{BASE}/status") for _ in range(50)]
        statuses = [reply.status_code for reply in await asyncio.gather(*asking)]
    assert 29 <= statuses.count(200) <= 40  # a burst of 20, and 10 that waited for up to a second
    assert statuses.count(200) + statuses.count(429) == 50


def test_limit_remembers_only_so_many() -> None:
    limit = RateLimit(rate=1, burst=1)
    for number in range(MOST_CALLERS + 10):
        limit.take(str(number))
    assert len(limit._callers) == MOST_CALLERS


# --- path tricks ---------------------------------------------------------------------------------


async def test_no_path_gets_around_the_token(served: Served) -> None:
    for target in (
        "/health/../api/v1/hivemind/start",
        "//api/v1/hivemind/start",
        "/api/v1/hivemind/start/",
        "/api/v1/hivemind/%73tart",
        "/api/v1/hivemind/start%00",
        "/api/v1/hivemind/start?x=/health",
        "/api/v1/hivemind/start;/health",
        "/health#/api/v1/hivemind/start",
        "/API/V1/HIVEMIND/START",
        "http://127.0.0.1/health",
        "http://evil.example/api/v1/hivemind/start",
        "/health",
        "/docs",
        "*",
    ):
        request = (
            f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n"
        )
        reply = await served.raw(request.encode())
        assert reply.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), (target, reply)
    assert served.session.store.state.phase is Phase.DISCONNECTED


async def test_no_path_leads_elsewhere(served: Served) -> None:
    for target in (
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/hivemind/training/..%2f..%2fpeers",
        "/api/v1/hivemind/training/../status",
        "/api/v1/hivemind/../../../health",
        "/%c0%ae%c0%ae/health",
        "//health",
        "/health/",
    ):
        request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        reply = await served.raw(request.encode())
        assert reply.startswith(b"HTTP/1.1 404"), (target, reply)


async def test_override_headers_are_not_heard(served: Served) -> None:
    headers = {"X-HTTP-Method-Override": "POST", "X-Original-URL": f"{BASE}/start"}
    await served.get("/health", headers=headers)
    assert served.session.store.state.phase is Phase.DISCONNECTED


# --- the audit log -------------------------------------------------------------------------------


async def test_every_changing_call_is_written_down(served: Served) -> None:
    await served.client.post(f"{BASE}/start")
    await served.post(f"{BASE}/start", role=Role.VIEWER)
    await served.post(f"{BASE}/start", headers={"Origin": "https://evil.example"})
    await served.post(f"{BASE}/start")
    await served.get(f"{BASE}/status")  # changes nothing
    names = ("message", "role", "status", "outcome")
    found = [tuple(line[name] for name in names) for line in served.audit()]
    assert found == [
        (f"POST {BASE}/start", "anybody", 401, "refused"),
        (f"POST {BASE}/start", "viewer", 403, "refused"),
        (f"POST {BASE}/start", "anybody", 403, "refused"),
        (f"POST {BASE}/start", "operator", 200, "allowed"),
    ]
    assert {line["caller"] for line in served.audit()} == {"127.0.0.1"}
    assert served.audit()[2]["origin"] == "https://evil.example"
    file = served.session.folders.logs / "audit.log"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for role in (Role.OPERATOR, Role.VIEWER):
        assert served.tokens.of(role) not in file.read_text()


async def test_forwarded_headers_do_not_change_who_called(served: Served) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    await served.post(f"{BASE}/stop", headers=headers)
    assert served.audit()[-1]["caller"] == "127.0.0.1"


async def test_line_breaks_make_no_lines(served: Served) -> None:
    await served.client.post(f"{BASE}/a%0A%7B%22status%22%3A200%7D")
    (line,) = served.audit()
    assert (line["status"], line["outcome"]) == (401, "refused")


async def test_flood_of_refused_calls_does_not_push_the_others_out(served: Served) -> None:
    evil = {"Origin": "https://evil.example"}
    for _ in range(80):
        await served.client.post(f"{BASE}/start", headers=evil)
    await served.post(f"{BASE}/stop")
    lines = served.audit()
    assert len(lines) < 80
    refused = [line for line in lines if line["outcome"] == "refused"]
    unwritten = sum(line["unwritten_before"] for line in lines)
    assert len(refused) + unwritten == 80
    assert lines[-1]["outcome"] == "allowed"


def test_audit_file_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = AuditLog(tmp_path)
    monkeypatch.setattr(audit._file, "maxBytes", 1000)
    for number in range(30):
        audit.write(f"POST /{number}", caller="127.0.0.1", token="secret")
    audit.close()
    files = sorted(tmp_path.glob("audit.log*"))
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "secret" not in "".join(file.read_text() for file in files)


# --- small parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a.example:80", "a.example"),
        ("[::1]:80", "::1"),
        ("A.Example", "a.example"),
        ("a@b", None),
        ("a/b", None),
        ("a:b", None),
        ("", None),
    ],
)
def test_name_in_a_host_header(header: str, name: str | None) -> None:
    assert access._host_name(header) == name


def test_importing_the_server_is_cheap() -> None:
    assert Callback.__module__ == "app.callback.server"
