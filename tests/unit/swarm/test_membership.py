"""How our peers take part in the network: what the settings, the swarm and our node's luck say."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from app.common.paths import Folders
from app.p2p.network import Network
from app.settings.settings import Settings
from app.spec import schema as spec
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm import membership
from app.swarm.membership import Membership
from app.swarm.organisation import Organisation
from app.swarm.recents import Recents
from tests.support.processes.apps import tiny_spec
from tests.support.processes.sessions import PEER_ID, OfflinePeer

DOOR = "/ip4/9.9.9.9/tcp/8080/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
INSIDE = "/ip4/10.0.0.7/tcp/8080/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
OTHER = DOOR.replace("9.9.9.9", "8.8.8.8")
RELAYED = f"{DOOR}/p2p-circuit/p2p/{PEER_ID}"


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are free, and there is no IPv6."""
    monkeypatch.setattr(membership, "free_port", lambda wanted: wanted)
    monkeypatch.setattr(membership, "any_free_port", lambda: 40000)
    monkeypatch.setattr("app.p2p.network.has_ipv6", lambda: False)


class Member:
    """A membership in a swarm whose only entries are the given ones."""

    def __init__(self, folder: Path, *entries: str, local: bool = False, **settings: Any) -> None:
        folders = Folders.under(folder)
        store = Store(settings=Settings(**settings), state=ContributorState())
        self.made = Membership(
            store,
            folders=folders,
            recents=Recents(folders.recents_file),
            organisation=Organisation(store, folders=folders),
            before_leaving=AsyncMock(),
        )
        self.peer = OfflinePeer()
        self.made._peer = self.peer  # type: ignore[assignment]
        self.spec = spec.parse(tiny_spec(local=local, initial_peers=list(entries)))

    async def networks(self, *found: str) -> tuple[Network, Network]:
        """Our node's, and our trainer's once our node has found out these addresses of its own."""
        await self.made.join(self.spec, remember=False)
        self.made._addresses = found
        networks = self.made.network("dht_port"), self.made.network("server_port")
        await self.made.leave()
        return networks


async def test_by_default_both_find_out(tmp_path: Path) -> None:
    own, trainer = await Member(tmp_path, INSIDE).networks()
    assert own == Network(listen=("/ip4/0.0.0.0/tcp/8080",))
    assert trainer == Network(listen=("/ip4/0.0.0.0/tcp/8081",))


async def test_the_trainer_takes_the_relays_that_our_node_has_found(tmp_path: Path) -> None:
    own, trainer = await Member(tmp_path, INSIDE).networks(RELAYED)
    assert (own.reachability, own.relays) == ("auto", ())
    assert (trainer.reachability, trainer.relays) == ("relay", (DOOR,))


async def test_until_then_it_asks_the_public_entries(tmp_path: Path) -> None:
    own, trainer = await Member(tmp_path, INSIDE, DOOR, RELAYED).networks()
    assert own.relays == ()
    assert (trainer.reachability, trainer.relays) == ("auto", (DOOR,))


async def test_own_relays_are_used_alone(tmp_path: Path) -> None:
    own, trainer = await Member(tmp_path, DOOR, trusted_relays=(OTHER,)).networks()
    assert own.relays == trainer.relays == (OTHER,)


async def test_what_is_announced_has_each_peers_port(tmp_path: Path) -> None:
    announce = ("lab.example", "/ip4/9.9.9.9/tcp/4000")
    own, trainer = await Member(tmp_path, announce=announce, server_port=0).networks()
    assert own.announce == ("/dns/lab.example/tcp/8080", "/ip4/9.9.9.9/tcp/4000")
    assert trainer.announce == ("/dns/lab.example/tcp/40000",)
    assert trainer.listen == ("/ip4/0.0.0.0/tcp/40000",)


async def test_the_setting_holds_for_both(tmp_path: Path) -> None:
    own, trainer = await Member(tmp_path, reachability="client").networks()
    assert own.reachability == trainer.reachability == "client"


async def test_we_are_in_while_the_daemon_is_replaced_and_out_while_we_leave(
    tmp_path: Path,
) -> None:
    member = Member(tmp_path)
    assert not member.made.joined
    await member.made.join(member.spec, remember=False)
    member.peer.may_enter.clear()
    replacing = asyncio.create_task(member.made._start_again())
    member.peer.enters.clear()
    await member.peer.enters.wait()
    assert (member.peer.joined, member.made.joined) == (False, True)
    member.peer.may_enter.set()
    await replacing
    seen: list[bool] = []
    leaving: Any = member.made._before_leaving
    leaving.side_effect = lambda: seen.append(member.made.joined)
    await member.made.leave()
    assert seen == [False]
    assert not member.made.joined


async def test_a_swarm_of_this_machine_is_kept_on_it(tmp_path: Path) -> None:
    member = Member(tmp_path, local=True, announce=("lab.example",), reachability="public")
    alone = Network(listen=("/ip4/127.0.0.1/tcp/0",), local=True)
    assert await member.networks() == (alone, alone)
