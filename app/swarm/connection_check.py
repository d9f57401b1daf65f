"""Check connection: tests one possible cause after the other, and reports each in words."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from app import __version__
from app.common.i18n import _, ngettext
from app.p2p import network
from app.p2p.calls import CallError
from app.p2p.meeting import by_peer
from app.p2p.network import Reach
from app.p2p.scout import Call, CallOutcome, Scout, called_back
from app.settings.settings import Settings
from app.swarm.clock import MOST_SECONDS

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

WEB_SECONDS = 5.0
MOST_ENTRIES = 12
"""Initial peers that are tried; an invite may list hundreds."""

ASKED_TO_CALL_BACK = 3


class Grade(StrEnum):
    """How good or bad a finding is for the connection."""

    GOOD = "good"
    CAUTION = "caution"  # may cause problems
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check."""

    check: str
    """What was checked, as a title."""
    verdict: Grade
    text: str
    """What was found; a sentence."""
    remedy: str = ""
    """What the user can do about it; a sentence, or empty."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is checked."""

    settings: Settings
    spec: "SwarmSpec | None" = None
    """Of the swarm that we are in, or tried to enter last."""
    node: Any = None
    """The embedded peer's `hivemind.dht.node.DHTNode`; None outside of a swarm."""
    addresses: tuple[str, ...] = ()
    """The embedded peer's multiaddrs."""
    connected: tuple[str, ...] = ()
    """Ids of the peers on other machines that the embedded peer is connected to."""
    versions: tuple[str, ...] = ()
    """Versions of the app on the swarm's machines."""
    web: str = ""
    """URL of the backend that offers the swarm; empty where none does."""
    entries: dict[str, list[str]] = field(init=False)
    """Addresses of the initial peers, by peer id."""

    def __post_init__(self) -> None:
        listed = (*(self.spec.initial_peers if self.spec else ()), *self.settings.initial_peers)
        object.__setattr__(self, "entries", by_peer(dict.fromkeys(listed[:MOST_ENTRIES])))


MakeScout = Callable[[str], AbstractAsyncContextManager[Scout]]


async def diagnose(subject: Subject, *, scout: MakeScout = Scout) -> AsyncIterator[Finding]:
    """Run all checks; yields each finding as soon as it is made."""
    for finding in await asyncio.to_thread(_ports, subject):
        yield finding
    if subject.spec is not None and subject.spec.local:
        yield Finding(
            check=_("Swarm"),
            verdict=Grade.GOOD,
            text=_("It is of this machine alone, and needs no network."),
        )
        return
    async for finding in _entries(subject):
        yield finding
    async for finding in _peers(subject, scout):
        yield finding
    if subject.versions:
        yield _version(subject.versions)
    yield await _reachable(subject)


# --- our ports


def _ports(subject: Subject) -> list[Finding]:
    wanted = subject.settings.dht_port
    check = _("Port")
    if subject.node is None:
        if not wanted or network.free_port(wanted) == wanted:
            return [Finding(check=check, verdict=Grade.GOOD, text=_port_free(wanted))]
        return [_port_taken(wanted, _("another one will be used"))]
    used = {place[1] for one in subject.addresses if (place := network.endpoint(one))}
    if not wanted or wanted in used or not used:
        text = _("This machine listens on {ports}.").format(ports=_ports_text(used))
        return [Finding(check=check, verdict=Grade.GOOD, text=text)]
    return [
        _port_taken(wanted, _("this machine listens on {ports}").format(ports=_ports_text(used)))
    ]


def _ports_text(used: set[int]) -> str:
    return ", ".join(map(str, sorted(used))) or _("no port, and calls on others only")


def _port_free(wanted: int) -> str:
    return _("Port {port} is free.").format(port=wanted) if wanted else _("Any free port is used.")


def _port_taken(wanted: int, instead: str) -> Finding:
    return Finding(
        check=_("Port"),
        verdict=Grade.CAUTION,
        text=_("Port {port} is taken by another program: {instead}.").format(
            port=wanted, instead=instead
        ),
        remedy=_(
            "Others still reach this machine, unless a router or a firewall lets only that port"
            " through. Close the other program, or choose another port in the settings."
        ),
    )


# --- the way to the peers


async def _entries(subject: Subject) -> AsyncIterator[Finding]:
    if not subject.entries:
        yield Finding(
            check=_("Peers to enter by"),
            verdict=Grade.UNKNOWN,
            text=_("None are named: the swarm begins with this machine, or others call on it."),
        )
        return
    for found in await asyncio.gather(*map(_ways_to, subject.entries.values())):
        for finding in found:
            yield finding


async def _ways_to(addresses: Sequence[str]) -> list[Finding]:
    return _one_is_enough(await asyncio.gather(*map(_way_to, addresses)))


def _one_is_enough(findings: Sequence[Finding]) -> list[Finding]:
    """Where one address works, those that fail are only a caution."""
    if all(finding.verdict is Grade.BAD for finding in findings):
        return list(findings)
    return [
        replace(finding, verdict=Grade.CAUTION) if finding.verdict is Grade.BAD else finding
        for finding in findings
    ]


async def _way_to(address: str) -> Finding:
    place = network.endpoint(address)
    if place is None:
        text = _("{address} is no address that we know how to call.").format(address=address)
        return Finding(check=_("Way"), verdict=Grade.BAD, text=text)
    check = _("Way to {host}, port {port}").format(host=place[0], port=place[1])
    try:
        took = await network.call(*place)
    except OSError as error:  # TimeoutError and socket.gaierror as well
        return _no_way(check, error)
    text = _("Something answers there, in {time} ms.").format(time=round(1000 * took))
    return Finding(check=check, verdict=Grade.GOOD, text=text)


def _no_way(check: str, error: OSError) -> Finding:
    match error:
        case socket.gaierror():
            text = _("The name can't be resolved to an address.")
            remedy = _("Check this machine's network and its name server, or the name's spelling.")
        case ConnectionRefusedError():
            text = _("That machine is there, but nothing listens on the port.")
            remedy = _("The peer is off, or has another port now: ask for a new invite.")
        case TimeoutError():
            text = _("No answer within {time} s.").format(time=round(network.CALL_SECONDS))
            remedy = _("The peer is off, or a firewall on the way drops the connection.")
        case _:
            text = _("There is no way to that address: {reason}.").format(
                reason=os.strerror(error.errno) if error.errno else error
            )
            remedy = _(
                "Check this machine's network. Without IPv6 there is no way to such addresses."
            )
    return Finding(check=check, verdict=Grade.BAD, text=text, remedy=remedy)


# --- the peers themselves


async def _peers(subject: Subject, make: MakeScout) -> AsyncIterator[Finding]:
    run_id = subject.spec.run_id if subject.spec else ""
    if not subject.entries:
        return
    try:
        async with make(run_id) as scout:
            calls = await asyncio.gather(*(scout.call(*each) for each in subject.entries.items()))
            for finding in _one_is_enough(list(map(_identity, subject.entries, calls))):
                yield finding
            met = [call for call in calls if call.answer is CallOutcome.PEER]
            yield await _clock(subject, met)
            if met and run_id:
                yield _run(run_id, await scout.trainers())
    except CallError as error:
        log.warning("the swarm's peers can't be looked at", exc_info=error)
        yield Finding(
            check=_("Peer-to-peer daemon"),
            verdict=Grade.BAD,
            text=_("It can't be started, or ended: {reason}.").format(reason=error.reason),
            remedy=_("The log says more."),
        )


def _identity(peer_id: str, call: Call) -> Finding:
    check = _("Peer {id}").format(id=f"…{peer_id[-6:]}")
    match call.answer:
        case CallOutcome.PEER:
            text = _("It answers, in {time} ms.").format(time=round(1000 * call.latency))
            return Finding(check=check, verdict=Grade.GOOD, text=text)
        case CallOutcome.SOMEBODY_ELSE:
            return Finding(
                check=check,
                verdict=Grade.BAD,
                text=_("Another peer is at its address: it was set up anew, or has moved."),
                remedy=_("Ask for a new invite."),
            )
        case CallOutcome.NO_NODE:
            return Finding(
                check=check,
                verdict=Grade.BAD,
                text=_("It answers, but not as a node of Hivemind: another program, or version."),
                remedy=_("Compare the versions of the app there and here."),
            )
        case _:
            return Finding(
                check=check,
                verdict=Grade.BAD,
                text=_("No peer answers at any of its addresses."),
                remedy=_("It may be off: ask for a new invite, or try again later."),
            )


# --- the clock


async def _clock(subject: Subject, met: Sequence[Call]) -> Finding:
    check = _("Clock")
    ahead = _median([call.clock for call in met]) if met else await _by_web(subject.web)
    if ahead is None:
        text = _("Nobody answered whose clock could be compared with this machine's.")
        return Finding(check=check, verdict=Grade.UNKNOWN, text=text)
    off = abs(ahead)
    if off < MOST_SECONDS / 3:
        text = _("It is right, within a second.")
        return Finding(check=check, verdict=Grade.GOOD, text=text)
    behind = _("It is {time} s behind the others'.")
    before = _("It is {time} s ahead of the others'.")
    return Finding(
        check=check,
        verdict=Grade.BAD if off >= MOST_SECONDS else Grade.CAUTION,
        text=(behind if ahead > 0 else before).format(time=f"{off:.1f}"),
        remedy=_(
            "Switch on that the system sets its time by itself: with more than {time} s, other"
            " peers refuse this machine."
        ).format(time=round(MOST_SECONDS)),
    )


def _median(numbers: list[float]) -> float:
    return sorted(numbers)[len(numbers) // 2]


async def _by_web(url: str) -> float | None:
    """Seconds that a web server's clock is ahead of ours, to the second; None without an answer."""
    if not url:
        return None
    import email.utils

    import httpx2

    try:
        async with httpx2.AsyncClient(timeout=WEB_SECONDS) as client:
            reply = await client.head(url)
        said = email.utils.parsedate_to_datetime(reply.headers["Date"]).timestamp()
    except (httpx2.HTTPError, KeyError, ValueError):
        return None
    return said + 0.5 - time.time()


# --- the run


def _run(run_id: str, trainers: int) -> Finding:
    check = _("Run {name}").format(name=run_id)
    if trainers:
        text = ngettext(
            "{count} machine trains in it.", "{count} machines train in it.", trainers
        ).format(count=trainers)
        return Finding(check=check, verdict=Grade.GOOD, text=text)
    return Finding(
        check=check,
        verdict=Grade.CAUTION,
        text=_("The peers that answer know nobody who trains in it."),
        remedy=_("If others do train, your invite is of another run: ask for a new one."),
    )


def _version(others: Sequence[str]) -> Finding:
    check, different = _("Version"), sorted({one for one in others if one != __version__})
    if not different:
        text = _("The swarm's machines have this app's version, {own}.").format(own=__version__)
        return Finding(check=check, verdict=Grade.GOOD, text=text)
    text = _("This app is version {own}; machines of the swarm have {others}.").format(
        own=__version__, others=", ".join(different[:5])
    )
    remedy = _("Where rounds of averaging fail, let all of them have the same.")
    return Finding(check=check, verdict=Grade.CAUTION, text=text, remedy=remedy)


# --- from outside


async def _reachable(subject: Subject) -> Finding:
    check = _("From outside")
    if subject.node is None:
        text = _("Only tried while this machine is in a swarm.")
        return Finding(check=check, verdict=Grade.UNKNOWN, text=text)
    if subject.settings.reachability == "client":
        text = _("Nobody can call on this machine, as the settings say.")
        return Finding(check=check, verdict=Grade.GOOD, text=text)
    if await called_back(subject.node, subject.connected[:ASKED_TO_CALL_BACK]):
        text = _("Other peers reach this machine directly.")
        return Finding(check=check, verdict=Grade.GOOD, text=text)
    return _not_directly(check, subject.addresses)


def _not_directly(check: str, addresses: Sequence[str]) -> Finding:
    remedy = _("Training works, but slower: forward the ports in the router to reach full speed.")
    relays = network.relays_of(addresses)
    if relays:
        text = ngettext(
            "Others reach this machine through {count} relay.",
            "Others reach this machine through {count} relays.",
            len(relays),
        ).format(count=len(relays))
        return Finding(check=check, verdict=Grade.GOOD, text=text, remedy=remedy)
    if max(map(network.reach, addresses), default=Reach.MACHINE) is Reach.NETWORK:
        text = _("Only this machine's own network reaches it, as far as one can tell.")
        return Finding(check=check, verdict=Grade.CAUTION, text=text, remedy=remedy)
    text = _("No other peer could tell.")
    return Finding(check=check, verdict=Grade.UNKNOWN, text=text)
