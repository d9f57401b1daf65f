"""What an IP address or a host's name means."""

import ipaddress
from urllib.parse import urlsplit

_NAMES_OF_LOOPBACK = frozenset({"localhost", "localhost."})


def is_loopback(host: str) -> bool:
    """Whether an address or a name means this machine and can't be reached from another one."""
    if host.lower() in _NAMES_OF_LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(url: str) -> bool:
    """Whether nobody on the network can read what is sent to ``url``: it is https, or loopback."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")
