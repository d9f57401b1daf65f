"""What hivemind is told of a node: its place in the network, and its key."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.routing import DHTID
from hivemind.dht.validation import CompositeValidator, DHTRecord
from hivemind.p2p import P2P
from hivemind.utils.timed_storage import get_dht_time

from app.common.errors import FolderError
from app.p2p.network import Network
from app.p2p.run_records import (
    LocalEvaluation,
    evaluations_key,
    load_identity,
    node_options,
    validators,
)
from tests.support.damage import damages

LISTEN = ("/ip4/0.0.0.0/tcp/8080", "/ip6/::/tcp/8080")
RELAY = "/ip4/203.0.113.7/tcp/8080/p2p/QmRelay"


def flags(name: str | None) -> dict[str, Any]:
    """What the daemon is told for a kind of reachability."""
    return P2P.FORCE_REACHABILITY_MAPPING[name] if name else {}


def test_by_default_it_finds_out_and_takes_a_relay_if_it_must() -> None:
    options = node_options(Network(listen=LISTEN))
    assert options["host_maddrs"] == list(LISTEN)
    assert options["announce_maddrs"] is None
    assert options["use_auto_relay"]
    assert options["nat_port_map"]
    assert options["auto_nat"]
    assert flags(options["force_reachability"]) == {}


@pytest.mark.parametrize(
    ("reachability", "relays", "expected"),
    [
        ("auto", (RELAY,), {"relayDiscovery": 0}),
        ("public", (), {"forceReachabilityPublic": 1}),
        ("public", (RELAY,), {"forceReachabilityPublic": 1}),
        ("relay", (), {"forceReachabilityPrivate": 1}),
        ("relay", (RELAY,), {"forceReachabilityPrivate": 1, "relayDiscovery": 0}),
        ("client", (), {}),
        ("client", (RELAY,), {}),
    ],
)
def test_reachability(reachability: Any, relays: tuple[str, ...], expected: dict[str, int]) -> None:
    options = node_options(Network(listen=LISTEN, reachability=reachability, relays=relays))
    assert flags(options["force_reachability"]) == expected
    taken = options["use_auto_relay"] and list(relays)
    assert options["trusted_relays"] == (taken or None)  # p2pd panics where it takes none
    assert options["client_mode"] == options["no_listen"] == (reachability == "client")


def test_announced_addresses_are_told() -> None:
    network = Network(listen=LISTEN, announce=("/dns/lab.example/tcp/8080",))
    assert node_options(network)["announce_maddrs"] == ["/dns/lab.example/tcp/8080"]


def test_a_swarm_of_this_machine_tells_no_router() -> None:
    options = node_options(Network(listen=("/ip4/127.0.0.1/tcp/0",), local=True))
    assert not any(options[name] for name in ("nat_port_map", "use_relay", "auto_nat"))


# --- evaluations


def test_an_evaluation_is_what_every_node_lets_pass(tmp_path: Path) -> None:
    key = load_identity(tmp_path / "trainer.pem").key
    signing = RSASignatureValidator(key)
    told = LocalEvaluation(epoch=3, loss=2.5, bits_per_byte=3.6, tokens=64)

    def passes(value: Any, *, by: bytes = signing.local_public_key) -> bool:
        record = DHTRecord(
            DHTID.generate(evaluations_key("run")).to_bytes(),
            DHTProtocol.serializer.dumps(by),
            DHTProtocol.serializer.dumps(value),
            get_dht_time() + 30.0,
        )
        signed = replace(record, value=signing.sign_value(record))
        return CompositeValidator(validators("run", key)).validate(signed)

    assert passes(told.dict())
    assert not passes(told.dict() | {"note": "x"})
    assert not passes(told.dict() | {"loss": 2})
    other = RSASignatureValidator(load_identity(tmp_path / "other.pem").key).local_public_key
    assert not passes(told.dict(), by=other)  # under another's name


# --- the key of a peer


def test_every_damaged_key_is_set_aside_for_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "trainer.pem"
    first = load_identity(file)
    kept = 0
    for what in damages(file, times=14):
        damaged = file.read_bytes()
        found = load_identity(file)
        assert load_identity(file).peer_id == found.peer_id, what
        set_aside = [each.read_bytes() for each in tmp_path.glob("*.damaged-*")]
        if found.peer_id != first.peer_id:
            assert damaged in set_aside, what
        else:
            kept += 1
    assert kept == 0


async def test_of_keys_made_at_once_the_first_stays(tmp_path: Path) -> None:
    file = tmp_path / "trainer.pem"  # by the app and the trainer, which both want to know its id
    found = await asyncio.gather(*(asyncio.to_thread(load_identity, file) for _ in range(4)))
    assert len({each.peer_id for each in found}) == 1
    assert not list(tmp_path.glob("*.tmp"))
    assert file.stat().st_mode & 0o777 == 0o400


def test_folder_in_the_place_of_a_key_is_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "trainer.pem"
    file.mkdir()
    assert load_identity(file).peer_id


def test_key_that_can_not_be_written_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "gone" / "trainer.pem"
    with pytest.raises(FolderError, match="can't be used: No such file") as raised:
        load_identity(file)
    assert raised.value.field == str(file)
