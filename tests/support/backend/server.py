"""A small CoTrain backend: a real HTTP and Socket.IO server at the real one's interface.

It behaves as the real one was seen to: ``contributions/submit`` refuses every body over HTTP
(`SmallBackend.quirk`), a report has no id, and a repeated one is counted twice. Faults are planned
per route and node. It runs in a thread of its own, or by hand::

    python tests/support/backend/server.py --port 3001
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import math
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import socketio
from aiohttp import web

PREFIX = "/api/v1"
NAMESPACE = "/hivemind"
WINDOW_SECONDS = 15 * 60.0
NUMBERS = ("computeTime", "gradientQuality", "dataTransmitted", "uptimeRatio")
HTML = "<!DOCTYPE html><html><body><h1>Welcome to the hotel's network</h1></body></html>"

Json = dict[str, Any]


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with one request.

    route: see `SmallBackend.ROUTES`, or ``live`` (a report over Socket.IO) and ``connect``;
    node: only a request about this node. counted: it takes effect before it goes wrong.
    held: nothing happens until it is set, whoever still listens. delay: the same in seconds. kill:
    called when that is over; late: seconds between it and the counting.
    What comes then: the status with body and headers, a page of HTML, silence, a cut connection,
    the live channel's ``contribution_error``, or, with none of these, what would have come.
    """

    route: str
    node: str = ""
    counted: bool = False
    held: threading.Event | None = None
    delay: float = 0.0
    kill: Callable[[], None] | None = None
    late: float = 0.0
    status: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    html: bool = False
    silent: bool = False
    cut: bool = False
    error: bool = False


class SmallBackend:
    """From `start` to `stop`. What is public may be set and read from the test's thread.

    quirk: HTTP refuses every report, but for the nodes in `taking`. places: decimals that it
    keeps, None for all.
    limit: requests per address and 15 minutes. offset: seconds that its clock is wrong by.
    access_seconds, refresh_seconds: how long its tokens hold. chain_key: nodes register without
    an error. row_strings: decimals come as strings.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.quirk = True
        self.taking: set[str] = set()
        self.places: int | None = None
        self.limit = 100
        self.offset = 0.0
        self.access_seconds = 15 * 60.0
        self.refresh_seconds = 7 * 24 * 3600.0
        self.chain_key = False
        self.row_strings = True
        self.users: dict[str, Json] = {}
        self.rows: list[Json] = []
        self.past_lives: list[list[Json]] = []
        self.nodes: dict[str, Json] = {}
        self.sessions: list[Json] = [listed("run"), listed("docs")]
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.heartbeats = 0
        self.url = ""
        self._port = port
        self._secret = uuid.uuid4().bytes
        self._times: deque[float] = deque()
        self._held_back: Counter[str] = Counter()  # reports by node that may yet be counted
        self._bound: dict[str, str] = {}
        self._transports: dict[str, asyncio.BaseTransport | None] = {}
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="backend")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None

    # --- life

    def start(self) -> "SmallBackend":
        """Listen; returns when it does."""
        self._ready.clear()
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        """Be away. Its rows stay; `start_again` comes back at the same port."""
        assert self._loop is not None
        assert self._ending is not None
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def start_again(self) -> None:
        """Come back after `stop`."""
        self._thread = threading.Thread(target=self._run, name="backend")
        self.start()

    def forget(self, node: str = "") -> None:
        """As the real one does when it restarts: it keeps contributions in memory.

        node: forget those of this node alone.
        """
        forgotten = threading.Event()

        def clear() -> None:
            self.past_lives.append([row for row in self.rows if node in ("", row["nodeId"])])
            self.rows = [row for row in self.rows if node not in ("", row["nodeId"])]
            forgotten.set()

        if self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(clear)  # it may be counting just now
            forgotten.wait()
        else:
            clear()

    def __enter__(self) -> "SmallBackend":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self.serve())
        except BaseException as error:  # noqa: BLE001  told by `start`
            self._failure = error
            self._ready.set()

    async def serve(self) -> None:
        """Serve on the running loop until `stop`, or cancelled."""
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        try:
            await site.start()
            self._port = runner.addresses[0][1]
            self.url = f"http://127.0.0.1:{self._port}"
            self._ready.set()
            await self._ending.wait()
        finally:
            for transport in self._transports.values():
                if transport is not None:
                    transport.abort()  # type: ignore[attr-defined]
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._unharmed, self._limited], client_max_size=100_000
        )
        application.on_response_prepare.append(self._date)
        for name, (method, path, handler) in self._routes().items():
            application.router.add_route(method, PREFIX + path, self._faulty(name, handler))
        application.router.add_get("/quiet/{node}", self._quiet)
        self._socket = self._socket_server()
        self._socket.attach(application)
        return application

    def now(self) -> float:
        """By its own clock."""
        return time.time() + self.offset

    async def _date(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(self.now(), usegmt=True)

    # --- limits and faults

    def forget_requests(self) -> None:
        """As if 15 minutes had passed."""
        self._times.clear()

    @web.middleware
    async def _unharmed(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """A client that was killed is no error of ours."""
        try:
            return await handler(request)
        except ConnectionError:
            return web.Response()

    @web.middleware
    async def _limited(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.rel_url.raw_path))
        if not request.path.startswith(PREFIX):
            return await handler(request)
        now = time.monotonic()
        while self._times and self._times[0] <= now - WINDOW_SECONDS:
            self._times.popleft()
        left = self.limit - len(self._times)
        reset = (self._times[0] if self._times else now) + WINDOW_SECONDS - now
        limits = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, left - 1)),
            "X-RateLimit-Reset": str(math.ceil(self.now() + reset)),
        }
        if left <= 0:
            limits["Retry-After"] = str(math.ceil(reset))
            return problem(429, "Too many requests from this IP, please try again later", limits)
        self._times.append(now)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = problem(error.status, f"Cannot {request.method} {request.path}")
        for name, value in limits.items():
            response.headers.setdefault(name, value)
        return response

    def _take_fault(self, route: str, node: str) -> Fault | None:
        for fault in self.faults:
            if fault.route == route and fault.node in ("", node):
                self.faults.remove(fault)
                return fault
        return None

    async def _hold_back(self, fault: Fault, node: str) -> None:
        """Until a fault's delays are over; what is then counted is counted at once."""
        self._held_back[node] += 1
        try:
            # the test's thread sets it
            while fault.held is not None and not fault.held.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(fault.delay)
            if fault.late:
                if fault.kill is not None:
                    fault.kill()
                    fault.kill = None
                await asyncio.sleep(fault.late)
        finally:
            self._held_back[node] -= 1

    @property
    def holds_back(self) -> bool:
        """Some report may yet be counted."""
        return any(self._held_back.values())

    async def _quiet(self, request: web.Request) -> web.Response:
        """Whether nothing of a node is held back. Over a new connection this is answered after
        all that came in before was taken up."""
        return web.json_response(not self._held_back[request.match_info["node"]])

    def _faulty(self, name: str, handler: Callable[[web.Request, Json], Awaitable[Any]]) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await _body_of(request)
            node = str(body.get("participant") or request.match_info.get("node", ""))
            fault = self._take_fault(name, node)
            if fault is None:
                return await handler(request, body)
            await self._hold_back(fault, node)
            response = await handler(request, body) if fault.counted else None
            if fault.kill is not None:
                fault.kill()
            return await self._spoilt(request, fault, response) or await handler(request, body)

        return handle

    async def _spoilt(
        self, request: web.Request, fault: Fault, response: web.Response | None
    ) -> web.Response | None:
        """The answer of a fault; None when it has none of its own and nothing was done yet."""
        if fault.cut and request.transport is not None:
            request.transport.abort()  # type: ignore[attr-defined]
        if fault.silent:
            await asyncio.sleep(3600)
        if fault.html:
            return web.Response(
                text=HTML,
                content_type="text/html",
                status=fault.status or 200,
                headers=fault.headers,
            )
        if fault.status:
            content = fault.body or {"statusCode": fault.status, "message": "a planned fault"}
            return web.json_response(content, status=fault.status, headers=fault.headers)
        return response or (web.Response() if fault.cut else None)

    # --- routes

    def _routes(self) -> dict[str, tuple[str, str, Any]]:
        return {
            "register": ("POST", "/auth/register", self._register),
            "login": ("POST", "/auth/login", self._login),
            "refresh": ("POST", "/auth/refresh", self._refresh),
            "trainings": ("GET", "/training", self._trainings),
            "training": ("GET", "/training/{uuid}", self._training),
            "contributors": ("POST", "/contributors", self._contributors),
            "node": ("POST", "/hivemind/nodes/register", self._register_node),
            "submit": ("POST", "/hivemind/contributions/submit", self._submit),
            "read_back": ("GET", "/hivemind/contributions/node/{node}", self._read_back),
            "top": ("GET", "/hivemind/contributors/top", self._top),
            "projected": (
                "GET",
                "/hivemind/rewards/projected/{node}/{session}",
                self._projected,
            ),
        }

    async def _register(self, _request: web.Request, body: Json) -> web.Response:
        email, password = body.get("email", ""), body.get("password", "")
        wrong = [] if "@" in email else ["email must be an email"]
        if len(password) < 8:
            wrong.append("password must be longer than or equal to 8 characters")
        if wrong:
            return problem(400, wrong)
        if email in self.users:
            return problem(409, "User with this email already exists")
        self.add_user(email, password)
        return self._signed_in(email)

    def add_user(self, email: str, password: str) -> None:
        """An account, as if registered."""
        self.users[email] = {
            "email": email,
            "password": password,
            "username": email.partition("@")[0],
        }

    async def _login(self, _request: web.Request, body: Json) -> web.Response:
        user = self.users.get(body.get("email", ""))
        if user is None or user["password"] != body.get("password"):
            return problem(401, "Invalid credentials")
        return self._signed_in(user["email"])

    def _signed_in(self, email: str) -> web.Response:
        user = {name: value for name, value in self.users[email].items() if name != "password"}
        access = self.token(email, "access", self.access_seconds)
        refresh = self.token(email, "refresh", self.refresh_seconds)
        content = {"user": user, "accessToken": access, "refreshToken": refresh}
        return web.json_response(content, status=201)

    async def _refresh(self, _request: web.Request, body: Json) -> web.Response:
        claims = self._claims(str(body.get("refreshToken", "")), "refresh")
        if claims is None:
            return problem(401, "Invalid refresh token")
        access = self.token(claims["sub"], "access", self.access_seconds)
        return web.json_response({"accessToken": access}, status=201)

    async def _trainings(self, request: web.Request, _body: Json) -> web.Response:
        page, limit = int(request.query.get("page", 1)), int(request.query.get("limit", 10))
        search = request.query.get("search", "").lower()
        found = [each for each in self.sessions if search in each["title"].lower()]
        return web.json_response(
            {
                "data": found[(page - 1) * limit : page * limit],
                "total": len(found),
                "page": page,
                "limit": limit,
                "totalPages": math.ceil(len(found) / limit),
            }
        )

    async def _training(self, request: web.Request, _body: Json) -> web.Response:
        for session in self.sessions:
            if session["id"] == request.match_info["uuid"]:
                return web.json_response(session)
        return problem(404, "Training session not found")

    async def _contributors(self, request: web.Request, body: Json) -> web.Response:
        if (refused := self._unauthorized(request)) is not None:
            return refused
        return web.json_response({"id": str(uuid.uuid4()), **body}, status=201)

    async def _register_node(self, request: web.Request, body: Json) -> web.Response:
        if (refused := self._unauthorized(request)) is not None:
            return refused
        if self.quirk:
            return unknown(body)
        self.nodes[body["nodeId"]] = body
        return web.json_response({"message": "Node registered"}, status=201)

    async def _submit(self, request: web.Request, body: Json) -> web.Response:
        if (refused := self._unauthorized(request)) is not None:
            return refused
        if self.quirk and body.get("participant") not in self.taking:
            return unknown(body)
        wrong = [
            *(f"property {name} should not exist" for name in body if name not in FIELDS),
            *(f"{name} must be {kind}" for name, (kind, fits) in FIELDS.items()
              if not fits(body.get(name))),
        ]  # fmt: skip
        if wrong:
            return problem(400, wrong)
        self._count(body["participant"], body)
        return web.json_response({"message": "Contribution submitted"}, status=201)

    async def _read_back(self, request: web.Request, _body: Json) -> web.Response:
        if (refused := self._unauthorized(request)) is not None:
            return refused
        node = request.match_info["node"]
        rows = [self._shown(row) for row in self.rows if row["nodeId"] == node]
        return web.json_response(rows)

    async def _top(self, _request: web.Request, _body: Json) -> web.Response:
        scores: dict[str, int] = {}
        for row in self.rows:
            scores[row["nodeId"]] = scores.get(row["nodeId"], 0) + row["contributionScore"]
        best = sorted(scores.items(), key=lambda item: -item[1])[:10]
        return web.json_response([{"nodeId": node, "totalScore": score} for node, score in best])

    async def _projected(self, request: web.Request, _body: Json) -> web.Response:
        if (refused := self._unauthorized(request)) is not None:
            return refused
        node, session = request.match_info["node"], int(request.match_info["session"])
        rows = [row for row in self.rows if row["sessionId"] == session]
        total = sum(row["contributionScore"] for row in rows) or 1
        own = sum(row["contributionScore"] for row in rows if row["nodeId"] == node)
        base = float(request.query.get("estimatedTotalReward", 0)) * own / total
        reward = {"baseReward": f"{base:.4f}", "bonusReward": "0", "totalProjected": f"{base:.4f}"}
        return web.json_response(reward | {"ranking": 1})

    # --- counting

    def _count(self, node: str, report: Json) -> None:
        """A report more, whatever was counted before."""
        numbers = {name: report[name] for name in NUMBERS}
        weights = (0.40, 0.35, 0.15, 0.10)
        score = sum(weight * numbers[name] for weight, name in zip(weights, NUMBERS, strict=True))
        self.rows.append(
            {
                "nodeId": node,
                "sessionId": report["sessionId"],
                **numbers,
                "contributionScore": max(0, round(score)),
                "timestamp": datetime.fromtimestamp(self.now(), UTC).isoformat(),
            }
        )

    def _shown(self, row: Json) -> Json:
        return row | {name: self._decimal(row[name]) for name in NUMBERS}

    def _decimal(self, number: float) -> str | float:
        if self.places is not None:
            text = f"{number:.{self.places}f}"
            return text if self.row_strings else float(text)
        return str(number) if self.row_strings else number

    # --- tokens

    def token(self, email: str, kind: str, seconds: float) -> str:
        """A JWT, signed with this backend's secret."""
        claims = {"sub": email, "kind": kind, "exp": self.now() + seconds, "jti": uuid.uuid4().hex}
        content = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        return f"{content}.{self._signature(content)}"

    def _signature(self, content: str) -> str:
        digest = hmac.new(self._secret, content.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _claims(self, token: str, kind: str) -> Json | None:
        content, _, signature = token.rpartition(".")
        if not content or not hmac.compare_digest(signature, self._signature(content)):
            return None
        payload = content.split(".")[1]
        claims: Json = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims if claims["kind"] == kind and claims["exp"] > self.now() else None

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return problem(401, "Unauthorized") if self._claims(token, "access") is None else None

    # --- Socket.IO

    def _socket_server(self) -> socketio.AsyncServer:
        server = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*")
        server.on("connect", self._connected, namespace=NAMESPACE)
        server.on("disconnect", self._gone, namespace=NAMESPACE)
        server.on("register_node", self._live_register, namespace=NAMESPACE)
        server.on("heartbeat", self._heartbeat, namespace=NAMESPACE)
        server.on("submit_contribution", self._live_submit, namespace=NAMESPACE)
        return server

    async def _connected(self, sid: str, environ: Json, *_auth: Any) -> bool:
        self._transports[sid] = environ["aiohttp.request"].transport
        fault = self._take_fault("connect", "")
        if fault is not None and fault.cut:
            self._cut(sid)
        return fault is None

    async def _gone(self, sid: str, *_reason: Any) -> None:
        self._transports.pop(sid, None)
        self._bound.pop(sid, None)

    def _cut(self, sid: str) -> None:
        transport = self._transports.get(sid)
        if transport is not None:
            transport.abort()  # type: ignore[attr-defined]

    async def _say(self, sid: str, event: str, content: Any) -> None:
        await self._socket.emit(event, content, to=sid, namespace=NAMESPACE)

    async def _live_register(self, sid: str, body: Json) -> None:
        self._bound[sid] = body["nodeId"]
        self.nodes[body["nodeId"]] = body["nodeData"]
        if self.chain_key:
            await self._say(sid, "registration_success", {"nodeId": body["nodeId"]})
        else:
            await self._say(sid, "registration_error", {"message": "private key is not set"})
        await self._socket.emit("nodes_update", list(self.nodes), namespace=NAMESPACE)

    async def _heartbeat(self, sid: str, _body: Json) -> None:
        self.heartbeats += 1
        await self._say(sid, "heartbeat_ack", {"timestamp": self.now()})

    async def _live_submit(self, sid: str, body: Json) -> None:
        node = self._bound.get(sid, "")
        fault = self._take_fault("live", node) or Fault(route="live", counted=True)
        await self._hold_back(fault, node)
        broken = fault.cut or fault.silent or fault.error
        if node and (fault.counted or not broken):
            self._count(node, body)
        if fault.kill is not None:
            fault.kill()
        answer = {"sessionId": body["sessionId"], "timestamp": self.now()}
        if fault.cut:
            self._cut(sid)
        elif not node or fault.error:
            await self._say(sid, "contribution_error", answer | {"message": "a planned fault"})
        elif not fault.silent:
            await self._say(sid, "contribution_confirmed", answer)
            await self._socket.emit("network_stats", {"rows": len(self.rows)}, namespace=NAMESPACE)


def listed(run_id: str, session_id: int = 7, **more: Any) -> Json:
    """A session, as `GET /training` shows it, to which contributions can be reported."""
    configuration = {"run_id": run_id, "session_id": session_id}
    session = {"id": str(uuid.uuid4()), "title": run_id, "status": "running"}
    return session | {"configuration": configuration} | more


# --- small things --------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "sessionId": ("an integer number", lambda value: isinstance(value, int)),
    "participant": ("a string", lambda value: isinstance(value, str)),
    **dict.fromkeys(NUMBERS, ("a number", _is_number)),
}


def problem(
    status: int, message: str | list[str], headers: dict[str, str] | None = None
) -> web.Response:
    """An error as the backend's framework words it."""
    content = {"statusCode": status, "message": message}
    return web.json_response(content, status=status, headers=headers)


def unknown(body: Json) -> web.Response:
    """The quirk: no field of its own interface is known."""
    return problem(400, [f"property {name} should not exist" for name in body])


async def _body_of(request: web.Request) -> Json:
    content = await request.json() if request.can_read_body else {}
    return content if isinstance(content, dict) else {}


def _encoded(content: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def main() -> None:
    """Serve until interrupted, with an account ``you@example.org`` / ``password``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=3001)
    parser.add_argument("--fixed", action="store_true", help="reports are taken over HTTP")
    options = parser.parse_args()
    backend = SmallBackend(port=options.port)
    backend.quirk = not options.fixed
    backend.add_user("you@example.org", "password")
    asyncio.run(backend.serve())


if __name__ == "__main__":
    main()
