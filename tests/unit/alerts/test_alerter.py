"""Each alert is sent once, not in quiet hours, and by services that really take it."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.alerts import alerter
from app.alerts.alerter import (
    Alerter,
    AlertMessage,
    is_quiet,
    message_of,
    send,
    service_of,
    trial_message,
)
from app.alerts.rules import Alert
from app.settings.settings import AlertKind, Settings
from app.state.events import ConnectionChanged
from app.state.history import History
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.fleet_sync import FleetSync
from tests.support.backend.reporting import until
from tests.support.machine.machines import record


class Watcher:
    """An app that watches, without a network."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        chosen = Settings(**{"alert_lab": "*"} | settings)
        self.store = Store(settings=chosen, state=ContributorState())
        self.machines = FleetSync(
            self.store,
            membership=SimpleNamespace(node=None),  # type: ignore[arg-type]  no network
            history=History(),
            key_file=folder / "key",
        )
        self.alerter = Alerter(self.store, machines=self.machines, file=folder / "alerts.json")
        self.heard: list[AlertMessage] = []
        self._sequence = 0

    async def open(self) -> None:
        await self.alerter.open()
        self.alerter.subscribe(self.heard.append)

    async def reads(self, *, times: int = 2, waits: bool = True, **figures: Any) -> None:
        """As if the machines had been read so many times; a hot one by default. waits: until the
        alerts are sent."""
        for _ in range(times):
            self._sequence += 1
            now = time.time()
            told = record(
                **{"time": now, "sequence": self._sequence, "temperature": 95.0} | figures
            )
            self.machines.fleet.take({"key": told}, now)
            for listener in tuple(self.machines._listeners):
                listener()
        if waits and (sending := getattr(self.alerter, "_sending", None)):
            await sending


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    return Watcher(tmp_path)


async def test_what_lasts_is_told_once(watcher: Watcher) -> None:
    await watcher.open()
    await watcher.reads(times=1)
    assert watcher.heard == []
    await watcher.reads(times=5)
    assert [each.text for each in watcher.heard] == ["lab-01 is at 95 °C."]
    await watcher.alerter.close()


async def test_what_comes_and_goes_is_told_once_an_hour(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watcher.open()
    for _ in range(3):
        await watcher.reads()
        await watcher.reads(temperature=60.0)
    assert len(watcher.heard) == 1
    monkeypatch.setattr(alerter, "REPEAT_SECONDS", 0.0)  # as if it had been right for an hour
    await watcher.reads(temperature=60.0)
    await watcher.reads()
    assert len(watcher.heard) == 2
    await watcher.alerter.close()


async def test_a_restart_tells_nothing_again(watcher: Watcher, tmp_path: Path) -> None:
    await watcher.open()
    await watcher.reads()
    await watcher.alerter.close()
    again = Watcher(tmp_path)
    await again.open()
    await again.reads(times=3)
    assert (len(watcher.heard), again.heard) == (1, [])
    await again.alerter.close()


async def test_what_was_told_while_the_clock_was_ahead_is_told_once_more(
    watcher: Watcher, tmp_path: Path
) -> None:
    told = {"key hot": time.time() + 365 * 86_400}
    (tmp_path / "alerts.json").write_text(json.dumps(told), encoding="utf-8")
    await watcher.open()
    await watcher.reads(temperature=60.0)
    await watcher.reads()
    assert len(watcher.heard) == 1
    await watcher.alerter.close()


async def test_a_service_that_never_answers_holds_nothing_up(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    threads: list[threading.Thread] = []
    may_end = threading.Event()

    def hang(_urls: object, _message: object) -> list[str]:
        threads.append(threading.current_thread())
        may_end.wait()
        return []

    monkeypatch.setattr(alerter, "send", hang)
    monkeypatch.setattr(alerter, "SEND_SECONDS", 0.05)
    await watcher.open()
    await watcher.reads()
    assert "an alert wasn't sent within 0 s" in caplog.messages
    assert [each.daemon for each in threads] == [True]  # the app's end doesn't wait for it
    await watcher.alerter.close()
    may_end.set()


async def test_quiet_hours_hold_it_back(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = [True]
    monkeypatch.setattr(alerter, "is_quiet", lambda _hours, _now: quiet[0])
    await watcher.open()
    await watcher.reads(times=3)
    assert watcher.heard == []
    quiet.clear()
    quiet.append(False)
    await watcher.reads(times=1)
    assert len(watcher.heard) == 1
    await watcher.alerter.close()


async def test_a_lost_line_is_not_the_machines_fault(watcher: Watcher) -> None:
    await watcher.open()
    watcher.store.dispatch(ConnectionChanged(reconnect_at=time.time() + 60))
    await watcher.reads(times=3)
    assert watcher.heard == []
    await watcher.alerter.close()


@pytest.mark.parametrize("content", ["{", "[]", '{"key hot": "x"}', '{"key hot": {}}'])
async def test_a_damaged_file_tells_it_once_more(
    watcher: Watcher, tmp_path: Path, content: str
) -> None:
    (tmp_path / "alerts.json").write_text(content)
    await watcher.open()
    await watcher.reads()
    assert len(watcher.heard) == 1
    await watcher.alerter.close()


def alert(number: int, kind: AlertKind = "hot") -> Alert:
    return Alert(public_key=f"key{number}", kind=kind, text=f"{number} is hot.")


def test_several_are_one_message() -> None:
    one = message_of([alert(1), alert(1, "slow")])
    assert one.title == "CoTrain: a machine needs a look"
    many = message_of([alert(number) for number in range(25)])
    assert many.title == "CoTrain: 25 machines need a look"
    assert len(many.text.splitlines()) == 21
    assert many.text.endswith("and 5 more")


@pytest.mark.parametrize(
    ("hours", "clock", "quiet"),
    [
        ("", "03:00", False),
        ("22:00-07:00", "21:59", False),
        ("22:00-07:00", "22:00", True),
        ("22:00-07:00", "03:00", True),
        ("22:00-07:00", "07:00", False),
        ("12:00-13:30", "13:29", True),
        ("00:00-24:00", "15:00", True),
    ],
)
def test_quiet_hours(hours: str, clock: str, *, quiet: bool) -> None:
    now = time.mktime(time.strptime(f"2026-11-25 {clock}", "%Y-%m-%d %H:%M"))
    assert is_quiet(hours, now) is quiet


# --- services ------------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook, as an address for apprise; and what it was sent."""
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(json.loads(body))
            self.send_response(200 if self.path == "/good" else 500)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"json://127.0.0.1:{server.server_port}", got
        server.shutdown()
        serving.join()


def test_a_webhook_gets_it(hook: tuple[str, list[dict[str, Any]]]) -> None:
    url, got = hook
    message = AlertMessage(title="A title", text="first\nsecond")
    assert send([f"{url}/good", f"{url}/bad", "nothing://x"], message) == [
        f"{url}/bad",
        "nothing://x",
    ]
    assert (got[0]["title"], got[0]["message"]) == ("A title", "first\nsecond")
    assert send([], trial_message()) == []


async def test_what_isn_t_sent_is_logged_without_its_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = Watcher(tmp_path, alert_urls="nothing://user:password@host")
    await watcher.open()
    await watcher.reads(waits=False)  # the next try is in a minute
    await until(lambda: "couldn't be sent" in caplog.text)
    assert "by nothing" in caplog.text
    assert "password" not in caplog.text
    await watcher.alerter.close()


async def test_a_service_that_was_down_gets_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[list[str]] = []

    def refuse(urls: list[str], _message: object) -> list[str]:
        tried.append([*urls])
        return [each for each in urls if len(tried) < {"json://a": 1, "json://b": 3}[each]]

    monkeypatch.setattr(alerter, "send", refuse)
    monkeypatch.setattr(alerter, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    watcher = Watcher(tmp_path, alert_urls="json://a json://b")
    await watcher.open()
    await watcher.reads()
    assert tried == [["json://a", "json://b"], ["json://b"], ["json://b"]]
    assert "given up" not in caplog.text
    await watcher.alerter.close()


def test_only_the_kind_of_a_service_is_told() -> None:
    assert service_of("mailto://user:password@example.org") == "mailto"
