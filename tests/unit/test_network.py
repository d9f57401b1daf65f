"""Whether a port is free."""

import socket
from collections.abc import Iterator

import pytest

from app.network import free_port


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
