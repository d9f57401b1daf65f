"""How our peers take part in the network: ports, addresses and how far they reach."""

import asyncio
import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

CALL_SECONDS = 4.0

_HOST = re.compile(r"/(?P<kind>ip4|ip6|dns|dns4|dns6|dnsaddr)/(?P<host>[^/]+)")


ReachabilityMode = Literal["auto", "public", "relay", "client"]
"""How others reach a peer. ``auto``: libp2p finds out, and takes a relay behind a NAT. ``public``:
directly, without finding out. ``relay``: through a relay only. ``client``: not at all."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """How one of our peers takes part in the network.

    `app.p2p.run_records.node_options` turns this into hivemind's options.
    """

    listen: tuple[str, ...]
    """Multiaddrs to listen on."""

    announce: tuple[str, ...] = ()
    """Multiaddrs that others are told to reach us by; () when libp2p shall find them out."""

    reachability: ReachabilityMode = "auto"

    relays: tuple[str, ...] = ()
    """Multiaddrs of the peers that may relay connections to us; () for any peer of the swarm."""

    local: bool = False
    """The peer talks to peers of this machine only."""


def listening(port: int, *, local: bool) -> tuple[str, ...]:
    """The multiaddrs to listen on, over IPv4 and, where the machine has it, IPv6."""
    if local:
        return (f"/ip4/127.0.0.1/tcp/{port}",)
    both = (f"/ip4/0.0.0.0/tcp/{port}", f"/ip6/::/tcp/{port}")
    return both if has_ipv6() else both[:1]


def has_ipv6() -> bool:
    """This machine has IPv6, at least to itself."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def announced(places: Iterable[str], port: int) -> tuple[str, ...]:
    """Multiaddrs to announce. places: host names or IP addresses, to which the port is added, or
    multiaddrs, which stay as they are."""
    return tuple(one if one.startswith("/") else f"{host_part(one)}/tcp/{port}" for one in places)


def host_part(host: str) -> str:
    """A multiaddr's first part, for a host's name or IP address. Raises `ValueError` for other
    texts."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        if len(host) <= 253 and _HOST_NAME.fullmatch(host):
            return f"/dns/{host}"
        raise ValueError(f"{host[:80]!r} is no host") from None
    return f"/ip{found.version}/{found.compressed}"


def is_host(text: str) -> bool:
    """The text is a host's name or an IP address."""
    try:
        host_part(text)
    except ValueError:
        return False
    return True


_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


def relays_of(addresses: Iterable[str]) -> tuple[str, ...]:
    """The multiaddrs of the relays through which a peer with these addresses is reached."""
    ways = (address.partition("/p2p-circuit") for address in addresses)
    return tuple(dict.fromkeys(relay for relay, circuit, _rest in ways if circuit))


def on_this_machine(address: str, own: Iterable[str]) -> bool:
    """A peer's multiaddr is on our machine. own: our multiaddrs."""
    direct = [one for one in own if "/p2p-circuit" not in one]
    hosts = {found[0] for one in direct if (found := _HOST.match(one))}
    found = _HOST.match(address)
    return reach(address) is Reach.MACHINE or (found is not None and found[0] in hosts)


_ENDPOINT = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6|dnsaddr)/([^/]+)/tcp/(\d+)")


def endpoint(multiaddr: str) -> tuple[str, int] | None:
    """The host and TCP port at the start of a multiaddr, which are the relay's in a relayed one.
    None for other kinds of multiaddrs."""
    found = _ENDPOINT.match(multiaddr)
    return None if found is None else (found[1], int(found[2]))


class Reach(IntEnum):
    """From where an address can be reached."""

    MACHINE = 0  # from its own machine only
    NETWORK = 1  # from the same local network
    WORLD = 2


def reach(multiaddr: str) -> Reach:
    """From where a multiaddr can be reached, judged by its text alone."""
    found = _HOST.match(multiaddr)
    if found is None:
        return Reach.MACHINE
    if found["kind"].startswith("dns"):
        return Reach.MACHINE if found["host"] == "localhost" else Reach.WORLD
    try:
        address = ipaddress.ip_address(found["host"].partition("%")[0])
    except ValueError:
        return Reach.MACHINE
    if address.is_loopback or address.is_unspecified:
        return Reach.MACHINE
    return Reach.WORLD if address.is_global else Reach.NETWORK


def best_first(addresses: Iterable[str], *, announced: Iterable[str] = ()) -> tuple[str, ...]:
    """A peer's multiaddrs, the ones that most others can dial first.

    These are the announced ones, then those on the internet, there through a relay, in the local
    network, and on this machine. announced: as the setting ``announce``.
    """
    chosen = tuple(one if one.startswith("/") else f"{host_part(one)}/" for one in announced)

    def rank(address: str) -> tuple[bool, int, bool]:
        ours = bool(chosen) and address.startswith(chosen)
        return not ours, -reach(address), "/p2p-circuit" in address

    return tuple(sorted(addresses, key=rank))


def with_peer_id(address: str, peer_id: str) -> str:
    """A peer's multiaddr with its id at the end; "" stays as it is."""
    end = f"/p2p/{peer_id}"
    return address if not address or not peer_id or address.endswith(end) else f"{address}{end}"


def free_port(wanted: int, host: str = "") -> int:
    """``wanted`` when nobody listens on that port, else 0, which means any free port.

    libp2p can't tell: it listens with SO_REUSEPORT, so it shares a taken port without an error
    and then gets only some of the connections.
    """
    families = [socket.AF_INET, *([socket.AF_INET6] if not host and has_ipv6() else [])]
    return wanted if all(_is_free(wanted, host, family) for family in families) else 0


def _is_free(port: int, host: str, family: socket.AddressFamily) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def any_free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.create_server(("", 0)) as probe:
        return int(probe.getsockname()[1])


def links_up() -> frozenset[str]:
    """The names of this machine's network interfaces that are up."""
    import psutil

    return frozenset(name for name, state in psutil.net_if_stats().items() if state.isup)


async def anybody_at(places: Iterable[tuple[str, int]]) -> bool:
    """Somebody listens at one of these places, each a host and a TCP port."""
    answers = await asyncio.gather(*(call(*place) for place in places), return_exceptions=True)
    return any(isinstance(answer, float) for answer in answers)


async def call(host: str, port: int) -> float:
    """Connect over TCP and hang up; returns the seconds until we were connected.

    Raises `OSError`, which includes `TimeoutError` after `CALL_SECONDS`.
    """
    began = time.monotonic()
    async with asyncio.timeout(CALL_SECONDS):
        _reader, writer = await asyncio.open_connection(host, port)
    took = time.monotonic() - began
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return took
