"""Small facts of the network: ports of this machine, and how far an address reaches."""

import ipaddress
import re
import socket
from enum import IntEnum

_HOST = re.compile(r"/(?P<kind>ip4|ip6|dns|dns4|dns6|dnsaddr)/(?P<host>[^/]+)")


class Reach(IntEnum):
    """From where a peer can be reached at an address."""

    MACHINE = 0  # this one alone
    NETWORK = 1  # the same local network
    WORLD = 2


def reach(multiaddr: str) -> Reach:
    """How far an address of a peer reaches, as far as it tells by itself."""
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


def free_port(wanted: int, host: str = "") -> int:
    """``wanted`` when nobody listens there, else 0, which means any free port.

    Asked beforehand because libp2p listens with SO_REUSEPORT: it shares a taken port without
    an error, and then gets some of the connections only.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError:
            return 0
    return wanted
