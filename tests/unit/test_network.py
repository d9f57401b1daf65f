"""Whether a port is free, and how far an address reaches."""

import socket
from collections.abc import Iterator

import pytest

from app import network
from app.network import Reach, free_port


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((request.param, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_taken_port_is_not_used(taken: int, host: str) -> None:
    assert free_port(taken, host) == 0


def test_port_shared_by_its_listener_is_not_used() -> None:
    with socket.create_server(("", 0), reuse_port=True) as server:
        assert free_port(server.getsockname()[1]) == 0


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_free_port_is_used(host: str) -> None:
    with socket.create_server((host, 0)) as server:
        port = server.getsockname()[1]
    assert free_port(port, host) == port


def test_port_of_a_closed_connection_is_used_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            connection, _ = server.accept()
            connection.close()  # the server's end first, so that it waits in TIME_WAIT
            assert client.recv(1) == b""
    assert free_port(port, "127.0.0.1") == port


def test_any_port_stays_any_port() -> None:
    assert free_port(0) == 0


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("/ip4/127.0.0.1/tcp/1/p2p/Qm", Reach.MACHINE),
        ("/ip6/::1/tcp/1/p2p/Qm", Reach.MACHINE),
        ("/ip4/0.0.0.0/tcp/1/p2p/Qm", Reach.MACHINE),
        ("/dns4/localhost/tcp/1/p2p/Qm", Reach.MACHINE),
        ("/unix/tmp/socket", Reach.MACHINE),
        ("/ip4/999.1.1.1/tcp/1/p2p/Qm", Reach.MACHINE),
        ("", Reach.MACHINE),
        ("/ip4/192.168.1.7/tcp/1/p2p/Qm", Reach.NETWORK),
        ("/ip4/10.0.0.7/tcp/1/p2p/Qm", Reach.NETWORK),
        ("/ip4/169.254.1.1/tcp/1/p2p/Qm", Reach.NETWORK),
        ("/ip6/fe80::1%eth0/tcp/1/p2p/Qm", Reach.NETWORK),
        ("/ip4/1.1.1.1/tcp/1/p2p/Qm", Reach.WORLD),
        ("/ip6/2606:4700::1111/tcp/1/p2p/Qm", Reach.WORLD),
        ("/dns4/seed.example.org/tcp/1/p2p/Qm", Reach.WORLD),
        ("/ip4/1.1.1.1/tcp/1/p2p/Qm/p2p-circuit/p2p/Qn", Reach.WORLD),
    ],
)
def test_reach_of_an_address(address: str, reach: Reach) -> None:
    assert network.reach(address) is reach
