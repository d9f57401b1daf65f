"""The client against a real small backend: every call, and every way in which one can fail."""

import asyncio
import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Callable
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.backend.budget import Budget
from app.backend.errors import (
    BackendError,
    NotSignedInError,
    RateLimitedError,
    RefusedError,
    UncertainError,
    UnreachableError,
    WrongAnswerError,
    WrongInputError,
)
from app.backend.http import Http
from app.backend.live import LiveChannel
from app.backend.replies import SessionPage, SignedIn
from tests.support.backend.reporting import (
    EMAIL,
    NODE,
    PASSWORD,
    UnknownNode,
    contribution,
    desk,
    until,
)
from tests.support.backend.server import Fault, SmallBackend

# --- every call ----------------------------------------------------------------------------------


def put_sessions(server: SmallBackend, count: int) -> None:
    server.sessions = [
        {
            "id": f"uuid-{number}",
            "title": f"Language model {number}",
            "status": "running",
            "requirements": {"minGPU": "8 GB"},
            "configuration": {"run_id": f"run-{number}"},
            "somethingNew": True,
        }
        for number in range(count)
    ]


async def test_sessions_come_in_pages(server: SmallBackend, tmp_path: Path) -> None:
    put_sessions(server, 25)
    async with desk(server, tmp_path, sign_in=False) as ours:
        page = await ours.backend.sessions(page=3, limit=10)
        assert (page.total, page.total_pages, len(page.data)) == (25, 3, 5)
        found = await ours.backend.sessions(page=1, limit=20, search="MODEL 17")
        assert [each.id for each in found.data] == ["uuid-17"]
        assert found.data[0].configuration == {"run_id": "run-17"}


@pytest.mark.parametrize("as_strings", [True, False])
async def test_what_was_counted_is_read_back(
    server: SmallBackend, tmp_path: Path, as_strings: bool
) -> None:
    server.quirk, server.row_strings = False, as_strings
    one = contribution(compute_time=12.345)
    async with desk(server, tmp_path) as ours:
        await ours.backend.submit(one)
        (row,) = await ours.read_back(NODE)
        assert await ours.read_back("somebody else") == []
        reward = await ours.backend.projected_reward(NODE, session_id=7, total=1000)
    assert (row.session_id, row.compute_time) == (7, Decimal("12.345"))
    assert (reward.total_projected, reward.ranking) == (1000, 1)


# --- how it fails --------------------------------------------------------------------------------

NO_ROUTE = {"message": "Cannot GET /a"}
FAILURES: list[tuple[dict[str, Any], type[BackendError], type[BackendError], str]] = [
    # the fault, the error of a read, the error of a report, what it says
    (
        {"status": 400, "body": {"message": ["sessionId must be a number", "b should not exist"]}},
        RefusedError,
        RefusedError,
        "number; b should",
    ),
    (
        {"status": 400, "body": {"message": "Failed to submit contribution: no gas"}},
        RefusedError,
        UncertainError,
        "no gas",
    ),
    ({"status": 400, "body": {"message": ["a", "b"]}}, RefusedError, UncertainError, "a; b"),
    (
        {"status": 400, "body": {"message": "sessionId must be a number"}},
        RefusedError,
        UncertainError,
        "be a number",
    ),
    ({"status": 400, "html": True}, WrongAnswerError, UncertainError, "400 Bad Request"),
    ({"status": 403, "body": {"message": "no"}}, RefusedError, RefusedError, "no"),
    ({"status": 404, "body": {"message": "x"}}, RefusedError, UncertainError, "x"),
    ({"status": 404, "html": True}, WrongAnswerError, WrongAnswerError, "404 Not Found"),
    ({"status": 413, "body": {"message": "large"}}, RefusedError, RefusedError, "large"),
    ({"status": 418, "body": {"message": "tea"}}, RefusedError, UncertainError, "tea"),
    (
        {"status": 404, "body": {"message": "Cannot GET /a"}},
        WrongAnswerError,
        WrongAnswerError,
        "GET /a",
    ),
    ({"status": 403, "html": True}, WrongAnswerError, WrongAnswerError, "403 Forbidden"),
    ({"status": 429}, RateLimitedError, RateLimitedError, "90[01] s"),
    ({"status": 500}, UnreachableError, UncertainError, "a planned fault"),
    ({"status": 503, "html": True}, UnreachableError, UncertainError, "503 Service"),
    ({"html": True}, WrongAnswerError, UncertainError, "a web page"),
    ({"status": 200, "body": [1]}, WrongAnswerError, UncertainError, "Expected `object`"),
    ({"cut": True}, UnreachableError, UncertainError, "disconnected"),
    ({"silent": True}, UnreachableError, UncertainError, "ReadTimeout"),
]


@pytest.mark.parametrize(
    ("fault", "of_read", "of_report", "said"), FAILURES, ids=lambda value: str(value)[:40]
)
async def test_each_failure_has_its_error(
    server: SmallBackend,
    tmp_path: Path,
    fault: dict[str, Any],
    of_read: type[BackendError],
    of_report: type[BackendError],
    said: str,
) -> None:
    server.quirk = False
    patience = 0.3 if "silent" in fault else 60.0
    async with desk(server, tmp_path) as ours:
        await ours.hang_up_after(patience)
        server.faults.append(Fault(route="submit", **fault))
        with pytest.raises(of_report, match=said):
            await ours.backend.submit(contribution())
    async with desk(server, tmp_path) as ours:
        await ours.hang_up_after(patience)
        server.faults.append(Fault(route="trainings", **fault))
        with pytest.raises(of_read, match=said) as raised:
            await ours.backend.sessions(page=1, limit=20)
    assert str(raised.value).endswith((".", "?", "!"))


async def test_an_address_without_anybody(tmp_path: Path) -> None:
    server = SmallBackend()
    server.url = "https://backend.invalid:3001"
    async with desk(server, tmp_path, sign_in=False) as ours:
        with pytest.raises(UnreachableError, match=r"backend\.invalid:3001 can't be") as raised:
            await ours.account.sign_in(EMAIL, password=PASSWORD)
    assert raised.value.field == "backend_url"


async def test_the_default_address_is_nobodys_at_home(tmp_path: Path) -> None:
    server = SmallBackend()
    server.url = "http://backend:3001"
    async with desk(server, tmp_path, sign_in=False) as ours:
        with pytest.raises(UnreachableError, match="no CoTrain backend is set up") as raised:
            await ours.backend.sessions(page=1, limit=20)
    assert "start a swarm of your own" in raised.value.remedy


async def test_a_port_on_which_nobody_listens_is_said_in_words(tmp_path: Path) -> None:
    server = SmallBackend()
    server.url = "http://127.0.0.1:1"
    async with desk(server, tmp_path, sign_in=False) as ours:
        with pytest.raises(UnreachableError, match=r"be reached: nothing answers there\."):
            await ours.backend.sessions(page=1, limit=20)


async def test_a_redirect_is_never_followed(server: SmallBackend, tmp_path: Path) -> None:
    with SmallBackend() as thief:
        server.faults.append(
            Fault(route="read_back", status=307, headers={"Location": f"{thief.url}/api/v1/x"})
        )
        async with desk(server, tmp_path) as ours:
            with pytest.raises(WrongAnswerError, match=f"leads elsewhere, to {thief.url}"):
                await ours.read_back(NODE)
        assert not thief.requests


async def test_the_live_channel_follows_no_redirect_either(
    server: SmallBackend, tmp_path: Path
) -> None:
    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", server.url + self.path)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Not onto stderr."""

    with serving(Redirecting) as url:
        channel = LiveChannel(Http(url, timeout=60), node=UnknownNode())
        with pytest.raises(UnreachableError, match="live channel"):
            await channel.submit(contribution())
        await channel.close()
    assert not server.requests


class serving:  # noqa: N801  used like a function
    """A server of the standard library in a thread."""

    def __init__(
        self, handler: type[http.server.BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
    ) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> str:
        self._thread.start()
        return f"{self._scheme}://localhost:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A certificate that no known authority has signed."""
    key, file = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", file], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return context


async def test_a_certificate_that_nobody_vouches_for(certificate: ssl.SSLContext) -> None:
    with serving(http.server.BaseHTTPRequestHandler, certificate) as url:
        client = Http(url, timeout=60)
        with pytest.raises(
            UnreachableError, match=r"certificate of localhost:\d+ can't be trusted"
        ):
            await client.ask("POST /auth/login", shape=SignedIn, body={}, once=True)
        await client.close()


async def test_an_endless_reply_is_cut_off(
    server: SmallBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backend.http.MAX_REPLY_BYTES", 1000)
    put_sessions(server, 100)
    async with desk(server, tmp_path, sign_in=False) as ours:
        with pytest.raises(BackendError, match="too long"):
            await ours.backend.sessions(page=1, limit=100)


async def test_a_long_reply_is_read_whole(server: SmallBackend, tmp_path: Path) -> None:
    put_sessions(server, 3000)
    async with desk(server, tmp_path, sign_in=False) as ours:
        assert len((await ours.backend.sessions(page=1, limit=3000)).data) == 3000


# --- limits --------------------------------------------------------------------------------------


async def test_429_holds_back_every_further_request(server: SmallBackend, tmp_path: Path) -> None:
    server.limit = 1
    async with desk(server, tmp_path, sign_in=False) as ours:
        await ours.backend.sessions(page=1, limit=20)
        with pytest.raises(RateLimitedError) as raised:
            await ours.backend.sessions(page=1, limit=20)
        assert 880 < raised.value.seconds <= 901
    assert len(server.requests) == 1  # the first reply had said that none was left


@pytest.mark.parametrize("offset", [-1e8, 0.0, 1e8])
@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Retry-After", lambda now: "120"),
        ("Retry-After", lambda now: http_date(now + 120)),
        ("X-RateLimit-Reset", lambda now: str(int(now) + 120)),
        ("X-RateLimit-Reset", lambda now: "120"),
    ],
)
async def test_how_long_to_wait_needs_no_right_clock(
    server: SmallBackend,
    tmp_path: Path,
    offset: float,
    header: str,
    value: Callable[[float], str],
) -> None:
    server.offset = offset
    headers = {header: value(server.now())}
    server.faults.append(Fault(route="trainings", status=429, headers=headers))
    async with desk(server, tmp_path, sign_in=False) as ours:
        with pytest.raises(RateLimitedError) as raised:
            await ours.backend.sessions(page=1, limit=20)
    assert 117 < raised.value.seconds <= 121


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


async def test_browsing_leaves_room_for_reports(server: SmallBackend, tmp_path: Path) -> None:
    async with desk(server, tmp_path, budget=Budget(requests=10)) as ours:
        for _ in range(4):  # and the sign-in
            await ours.backend.sessions(page=1, limit=20)
        with pytest.raises(RateLimitedError):
            await ours.backend.sessions(page=1, limit=20)
        await ours.read_back(NODE)


# --- the account ---------------------------------------------------------------------------------


async def test_register_and_sign_in(server: SmallBackend, tmp_path: Path) -> None:
    async with desk(server, tmp_path, sign_in=False) as ours:
        await ours.account.register("new@example.org", password="long enough", username="new")
        assert ours.account.email == "new@example.org"
        await ours.read_back(NODE)
        with pytest.raises(RefusedError, match="already exists") as taken:
            await ours.account.register("new@example.org", password="long enough")
        with pytest.raises(NotSignedInError, match="Invalid credentials") as wrong:
            await ours.account.sign_in("new@example.org", password="wrong")
        assert (taken.value.field, wrong.value.field) == ("email", "password")
        assert ours.account.email == "new@example.org"


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("", "long enough", "email"),
        ("new", "long enough", "email"),
        ("new@example.org, you@example.org", "long enough", "email"),
        ("new@example.org", "", "password"),
        ("new@example.org", "seven 7", "password"),
    ],
)
async def test_what_cannot_be_right_is_said_without_asking(
    server: SmallBackend, tmp_path: Path, email: str, password: str, field: str
) -> None:
    async with desk(server, tmp_path, sign_in=False) as ours:
        with pytest.raises(WrongInputError) as wrong:
            await ours.account.register(email, password=password)
        assert wrong.value.field == field
    assert not server.requests


async def test_a_sign_in_is_there_after_a_restart(server: SmallBackend, tmp_path: Path) -> None:
    async with desk(server, tmp_path):
        pass
    async with desk(server, tmp_path, sign_in=False) as ours:
        assert ours.account.email == EMAIL
        await ours.read_back(NODE)
    with SmallBackend() as other:
        async with desk(other, tmp_path, sign_in=False) as ours:
            assert ours.account.email == ""
        assert not other.requests


async def test_after_signing_out_nothing_is_kept(server: SmallBackend, tmp_path: Path) -> None:
    async with desk(server, tmp_path) as ours:
        await ours.account.sign_out()
        with pytest.raises(NotSignedInError, match="nobody is signed in"):
            await ours.read_back(NODE)
    assert not (tmp_path / "account.json").exists()


async def test_many_that_need_a_new_token_ask_once(server: SmallBackend, tmp_path: Path) -> None:
    server.access_seconds = 0.0
    async with desk(server, tmp_path) as ours:
        server.access_seconds = 900.0
        await asyncio.gather(*(ours.read_back(NODE) for _ in range(8)))
    assert server.requests.count(("POST", "/api/v1/auth/refresh")) == 1


async def test_who_stays_signed_in_outlives_the_refresh_token(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.add_user(EMAIL, PASSWORD)
    server.access_seconds = server.refresh_seconds = 0.0
    async with desk(server, tmp_path, sign_in=False) as ours:
        await ours.account.sign_in(EMAIL, password=PASSWORD, stay=True)
        server.access_seconds = server.refresh_seconds = 900.0
        await ours.read_back(NODE)
    server.users[EMAIL]["password"] = "changed since"
    async with desk(server, tmp_path, sign_in=False) as ours:
        await ours.read_back(NODE)  # its new refresh token was kept


async def test_signing_out_while_a_token_is_renewed(server: SmallBackend, tmp_path: Path) -> None:
    server.access_seconds = 0.0
    async with desk(server, tmp_path) as ours:
        server.access_seconds = 900.0
        signed_out = threading.Event()
        server.faults.append(Fault(route="refresh", held=signed_out))
        asking = asyncio.create_task(ours.read_back(NODE))
        await until(lambda: not server.faults)
        await ours.account.sign_out()
        signed_out.set()
        with pytest.raises(NotSignedInError):
            await asking
        assert ours.account.email == ""


def test_the_shapes_pass_over_what_they_dont_know() -> None:
    page = {"data": [], "total": 0, "page": 1, "limit": 10, "totalPages": 0, "new": {}}
    assert msgspec.json.decode(json.dumps(page), type=SessionPage).total_pages == 0


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that don't resolve must not be asked of a proxy."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
