"""Whether a port is free, and how far an address reaches."""

import socket
from collections.abc import Iterator

import pytest

from app.p2p import network
from app.p2p.network import Reach, free_port


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


# --- what our peers are told

RELAY = "/ip4/203.0.113.7/tcp/8080/p2p/QmRelay"
RELAYED = f"{RELAY}/p2p-circuit/p2p/QmUs"


def test_it_listens_over_both_versions_where_the_machine_has_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "has_ipv6", lambda: True)
    assert network.listening(8080, local=False) == ("/ip4/0.0.0.0/tcp/8080", "/ip6/::/tcp/8080")
    monkeypatch.setattr(network, "has_ipv6", lambda: False)
    assert network.listening(8080, local=False) == ("/ip4/0.0.0.0/tcp/8080",)
    assert network.listening(0, local=True) == ("/ip4/127.0.0.1/tcp/0",)


def test_names_and_addresses_are_announced_at_the_port() -> None:
    places = ("lab.example", "203.0.113.7", "2001:db8::7", "/ip4/198.51.100.1/tcp/40000")
    assert network.announced(places, 8081) == (
        "/dns/lab.example/tcp/8081",
        "/ip4/203.0.113.7/tcp/8081",
        "/ip6/2001:db8::7/tcp/8081",
        "/ip4/198.51.100.1/tcp/40000",
    )


@pytest.mark.parametrize("host", ["", "-lab", "lab_1", "a" * 254, "1.2.3.4/24"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        network.host_part(host)


def test_relays_are_read_from_our_own_addresses() -> None:
    own = ("/ip4/192.168.0.2/tcp/8080/p2p/QmUs", RELAYED, RELAYED)
    assert network.relays_of(own) == (RELAY,)


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("/ip4/127.0.0.1/tcp/4001", True),
        ("/ip4/192.168.0.2/tcp/4001", True),
        ("/ip4/192.168.0.20/tcp/4001", False),
        (RELAY, False),  # our relay isn't us
    ],
)
def test_peers_on_this_machine(address: str, *, is_ours: bool) -> None:
    own = ("/ip4/192.168.0.2/tcp/8080/p2p/QmUs", RELAYED)
    assert network.on_this_machine(address, own) is is_ours


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/ip4/203.0.113.7/tcp/8080/p2p/Qm", ("203.0.113.7", 8080)),
        ("/ip6/2001:db8::7/tcp/8080", ("2001:db8::7", 8080)),
        ("/dns/lab.example/tcp/443/p2p/Qm", ("lab.example", 443)),
        (RELAYED, ("203.0.113.7", 8080)),
        ("/ip4/203.0.113.7/udp/8080/quic", None),
    ],
)
def test_endpoint(address: str, place: tuple[str, int] | None) -> None:
    assert network.endpoint(address) == place


async def test_anybody_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = server.getsockname()[:2]
        nowhere = ("127.0.0.1", network.any_free_port())
        assert await network.anybody_at([nowhere, there])
        assert not await network.anybody_at([nowhere])
    assert not await network.anybody_at([])


def test_the_loopback_is_up() -> None:
    assert any(name.startswith("lo") for name in network.links_up())


def test_addresses_that_most_can_dial_come_first() -> None:
    loopback, lan, world = (
        f"/ip4/{host}/tcp/8080" for host in ("127.0.0.1", "10.0.0.7", "8.8.8.8")
    )
    relayed = "/ip4/1.1.1.1/tcp/1/p2p/QmRelay/p2p-circuit"
    named = "/dns/lab.example/tcp/8080"
    mixed = (loopback, lan, relayed, world, named)
    assert network.best_first(mixed) == (world, named, relayed, lan, loopback)
    assert network.best_first(mixed, announced=["lab.example"])[0] == named
    assert network.best_first(mixed, announced=["10.0.0.7"])[0] == lan
    assert network.best_first(mixed, announced=[lan])[0] == lan
    assert network.best_first((loopback,)) == (loopback,)
    assert network.best_first(()) == ()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/tcp/1/p2p/Qm"),
        ("/ip4/8.8.8.8/tcp/1/p2p/Qm", "/ip4/8.8.8.8/tcp/1/p2p/Qm"),
        ("/ip4/8.8.8.8/tcp/1/p2p/R/p2p-circuit", "/ip4/8.8.8.8/tcp/1/p2p/R/p2p-circuit/p2p/Qm"),
        ("", ""),
    ],
)
def test_address_ends_with_its_peers_id(address: str, expected: str) -> None:
    assert network.with_peer_id(address, "Qm") == expected
