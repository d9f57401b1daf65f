"""What addresses, names and networks in the settings must look like.

Each function returns the value, in its usual form, or raises `ValueError` with a sentence.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from app.common.i18n import _
from app.p2p.network import is_host

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_MULTIADDR = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/[^/\s,]+/tcp/[1-9]\d{0,4}(/p2p/\w+)?")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,260}")


def hosts_or_multiaddrs(value: tuple[str, ...]) -> tuple[str, ...]:
    """Where a peer is reached."""
    for one in value:
        if not (_MULTIADDR.fullmatch(one) or is_host(one)):
            message = _(
                "{place!r} must be a host's name, an IP address or a multiaddr, such as"
                " /ip4/203.0.113.7/tcp/8080"
            )
            raise ValueError(message.format(place=one))
    return value


def relays(value: tuple[str, ...]) -> tuple[str, ...]:
    """Multiaddrs with a peer id."""
    for one in value:
        if not (_MULTIADDR.fullmatch(one) and "/p2p/" in one):
            message = _(
                "{relay!r} must be a multiaddr that ends with the relay's peer id, such as"
                " /ip4/203.0.113.7/tcp/8080/p2p/QmNb…"
            )
            raise ValueError(message.format(relay=one))
    return value


def base_url(value: str) -> str:
    """A backend's address, without ``/api/v1``."""
    url = value.strip().rstrip("/").removesuffix("/api/v1")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:  # the port is not a number
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError(_("must be a web address such as https://cotrain.example:3001"))
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(_("must have no user name, query or fragment"))
    return url


def web_address(value: str) -> str:
    """An address to read from, or ""."""
    if value and not urlsplit(value).hostname:
        raise ValueError(_("must be a web address such as https://cotrain.example/newest.json"))
    return value


def ip_address(value: str) -> str:
    """An address to listen on."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(_("must be an IP address, such as 127.0.0.1 or 0.0.0.0")) from None


def host_names(value: tuple[str, ...]) -> tuple[str, ...]:
    """Names of hosts, in small letters."""
    for name in value:
        if not _HOST.fullmatch(name):
            text = _("{name!r} must be a host's name without a port")
            raise ValueError(text.format(name=name))
    return tuple(name.lower() for name in value)


def origins_of_pages(value: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as browsers send them."""
    for origin in value:
        if not _ORIGIN.fullmatch(origin):
            text = _("{origin!r} must be an origin, such as https://cotrain.example")
            raise ValueError(text.format(origin=origin))
    return tuple(origin.lower() for origin in value)


def ip_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    """IP addresses and networks."""
    for network in value:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            text = _("{network!r} must be an IP address or a network, such as 10.0.0.0/8")
            raise ValueError(text.format(network=network)) from None
    return value


def services(value: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses of services that take messages, ``scheme://…``. Which schemes there are is known
    where they are sent."""
    for url in value:
        scheme, separator, rest = url.partition("://")
        if not (separator and scheme.isalnum() and rest):
            raise ValueError(
                _("must be addresses as apprise has them, such as mailto://user:password@host")
            )
    return value
