"""Sends each alert once: to whoever listens in the app, and to the services of the settings."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from app.alerts.rules import Alert, AlertRules, alerts_of
from app.common.background import Background, run_in_thread, survived
from app.common.i18n import _, ngettext
from app.common.paths import write_atomically
from app.common.subscription import Subscription, subscribed
from app.state.store import ReadableStore
from app.swarm.fleet_sync import FleetSync
from app.terms.schedule import LocalZone, Schedule

log = logging.getLogger(__name__)

FILE_NAME = "alerts.json"
"""In the data folder: what has been told, so that a restart doesn't tell it again."""

LASTING_LOOKS = 2
"""Looks at the machines, one after the other, in which something must be wrong to be told."""

REPEAT_SECONDS = 3600.0
"""What was told is told again only if it is wrong again after it has been right for so long."""

SEND_SECONDS = 60.0
"""For all services of one message; each may take the 8 s that apprise gives it."""

RETRY_SECONDS = (60.0, 600.0, 3600.0)
"""After which a service that didn't take a message gets it again: it, or our line, may be down for
a while."""

MOST_LINES = 20
"""Of a message."""


@dataclass(frozen=True, kw_only=True)
class AlertMessage:
    """Alerts in one message."""

    title: str
    text: str
    """A line each."""


class Alerter:
    """Looks at the machines whenever they were read, from `open` to `close`."""

    def __init__(self, store: ReadableStore, *, machines: FleetSync, file: Path) -> None:
        self._store = store
        self._machines = machines
        self._file = file
        self._looks: dict[str, int] = {}  # in how many looks in a row each alert was there
        self._told: dict[str, float] = {}  # by the alert's key: when it was there last
        self._listeners: list[Callable[[AlertMessage], None]] = []
        self._readings = Subscription()
        self._one_at_a_time = asyncio.Lock()
        self._background = Background()

    async def open(self) -> None:
        """Begin to look."""
        self._told = await asyncio.to_thread(_read, self._file)
        self._readings = self._machines.subscribe(self._look)

    async def close(self) -> None:
        """Look no more. May be called twice, and without `open`."""
        self._readings.close()
        await self._background.close()

    def subscribe(self, listener: Callable[[AlertMessage], None]) -> Subscription:
        """Call ``listener`` with each message."""
        return subscribed(self._listeners, listener)

    def _look(self) -> None:
        if self._store.state.reconnect_at is not None:
            return  # nobody can be reached: it is our line, not the machines
        now = time.time()
        rules = AlertRules.of(self._store.settings)
        machines = self._machines.fleet.machines(now)
        found = alerts_of(machines, rules, own_key=self._machines.public_key)
        self._forget(found, now)
        self._looks = {each.key: self._looks.get(each.key, 0) + 1 for each in found}
        new = [
            each
            for each in found
            if each.key not in self._told and self._looks[each.key] >= LASTING_LOOKS
        ]
        if new and not is_quiet(self._store.settings.alert_quiet, now):
            self._told |= {each.key: now for each in new}
            self._sending = self._background.start(self._send(message_of(new)))

    def _forget(self, found: Iterable[Alert], now: float) -> None:
        """Of what was told, keep what is still wrong or was until a while ago."""
        still = {each.key for each in found} & self._told.keys()
        self._told |= dict.fromkeys(still, now)
        # abs: while the clock was ahead, times were noted that may be years away
        self._told = {
            key: last for key, last in self._told.items() if abs(now - last) < REPEAT_SECONDS
        }

    async def _send(self, message: AlertMessage) -> None:
        for listener in tuple(self._listeners):
            listener(message)
        with survived(log, "an alert couldn't be sent"):
            await asyncio.to_thread(_write, self._file, dict(self._told))
            urls = await self._sent(self._store.settings.alert_urls, message)
            for seconds in RETRY_SECONDS:
                self._log_unsent(urls, f"; the next try is in {seconds / 60:.0f} min")
                if not urls:
                    return
                await asyncio.sleep(seconds)
                wanted = self._store.settings.alert_urls
                urls = await self._sent([each for each in urls if each in wanted], message)
            self._log_unsent(urls, "; it was given up")

    def _log_unsent(self, urls: Iterable[str], then: str) -> None:
        for url in urls:
            log.warning("an alert couldn't be sent by %s%s", service_of(url), then)

    async def _sent(self, urls: Iterable[str], message: AlertMessage) -> list[str]:
        """As `send`, one message at a time, and not for ever: a service may never answer. It may
        have taken the message nevertheless, which isn't sent again then."""
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    return await run_in_thread(partial(send, urls, message), name="sends an alert")
            except TimeoutError:
                log.warning("an alert wasn't sent within %.0f s", SEND_SECONDS)
                return []


def message_of(alerts: Sequence[Alert]) -> AlertMessage:
    """One message for several alerts."""
    lines = [each.text for each in alerts[:MOST_LINES]]
    if len(alerts) > MOST_LINES:
        more = len(alerts) - MOST_LINES
        text = ngettext("and {count} more", "and {count} more", more)
        lines.append(text.format(count=more))
    machines = len({each.public_key for each in alerts})
    title = ngettext(
        "CoTrain: a machine needs a look", "CoTrain: {count} machines need a look", machines
    )
    return AlertMessage(title=title.format(count=machines), text="\n".join(lines))


def trial_message() -> AlertMessage:
    """What is sent to try the services of the settings."""
    return AlertMessage(
        title=_("CoTrain: a test"), text=_("Alerts about your machines arrive here.")
    )


def send(urls: Iterable[str], message: AlertMessage) -> list[str]:
    """Send a message to apprise's addresses; returns those that can't be used or didn't take it.

    Blocks on the network.
    """
    urls = list(urls)
    if not urls:
        return []
    import apprise

    logging.getLogger("apprise").disabled = True  # it logs whole addresses, passwords included
    failed = []
    for url in urls:
        service = apprise.Apprise.instantiate(url)  # without apprise's threads, which never end
        if service is None or not service.notify(title=message.title, body=message.text):
            failed.append(url)
    return failed


def service_of(url: str) -> str:
    """The kind of service that an address is for, such as ``mailto``: the rest is secret."""
    return url.partition("://")[0]


def is_quiet(hours: str, now: float) -> bool:
    """Whether a time is in the quiet hours. hours: as the setting ``alert_quiet``."""
    if not hours:
        return False
    return Schedule.parse(f"mon-sun {hours}").is_open(datetime.fromtimestamp(now, LocalZone()))


def _read(file: Path) -> dict[str, float]:
    try:
        told = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # what is wrong is then told once more
    if not isinstance(told, dict):
        return {}
    return {key: last for key, last in told.items() if isinstance(last, float)}


def _write(file: Path, told: dict[str, float]) -> None:
    try:
        write_atomically(file, json.dumps(told).encode())
    except OSError as error:
        log.warning("what was told can't be kept: %s: %s", file, error)
