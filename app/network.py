"""Small facts of this machine's network."""

import socket


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
