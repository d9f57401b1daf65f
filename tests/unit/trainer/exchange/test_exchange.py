"""Rounds among members with a p2pd each."""

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.p2p.sightings import PartFault
from app.spec.line import round_upload, update_bytes
from app.spec.training import TrainingSpec
from app.trainer.exchange import follower
from app.trainer.exchange.exchange import Exchange, ExchangeError, GoneRoundError, Swap
from app.trainer.exchange.fetching import FetchError, Fetching
from app.trainer.peer.bandwidth import BandwidthLimit
from tests.support.training.exchanges import Peer, Swarm, epoch_led_by
from tests.support.training.memory_exchange import MemoryExchange, MemoryHub


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    made = Swarm(tmp_path / "keys")
    yield made
    made.close()


def blob(number: int, size: int = 700_000) -> bytes:
    """Three pieces."""
    return bytes([number]) * size


def blobs(swap: Swap) -> dict[str, bytes]:
    return {each.peer_id: each.blob for each in swap.contributions}


def lead_and_wait(swarm: Swarm, leader: Peer, epoch: int) -> "Future[Swap]":
    """Let a peer lead a round, and wait for somebody who never comes."""
    nobody = swarm.identity().peer_id
    swapping = swarm.swap(leader, blob(0), epoch=epoch, others=[*swarm.peers, nobody])
    while (this := leader.exchange._member._rounds.of(epoch)) is None or this.led is None:
        time.sleep(0.01)
    return swapping


def gather(
    swarm: Swarm, leader: Peer, others: Sequence[Peer], epoch: int = 1
) -> "list[Future[Swap]]":
    """Let a peer, whose first round it isn't, lead a round that it enters when the blobs of others
    are with it: its time for gathering begins then."""
    swarm.swap(leader, blob(0), epoch=epoch - 1, others=[]).result()
    swapping = [swarm.swap(each, blob(1), epoch=epoch) for each in others]
    for _ in others:
        assert leader.has_checked.acquire(timeout=60)
    return [swarm.swap(leader, blob(1), epoch=epoch), *swapping]


@pytest.mark.parametrize("count", [2, 5])
def test_all_members_end_with_the_same_set_in_the_same_order(swarm: Swarm, count: int) -> None:
    peers = [swarm.add() for _ in range(count)]
    for epoch in (1, 2):
        swapping = [
            swarm.swap(peer, blob(10 * epoch + number), epoch=epoch, weight=number)
            for number, peer in enumerate(peers)
        ]
        swaps = [each.result() for each in swapping]
        assert all(swap == swaps[0] for swap in swaps)
        assert peers[0].peer_id in blobs(swaps[0])
        offered = {
            peer.peer_id: (blob(10 * epoch + number), float(number))
            for number, peer in enumerate(peers)
        }
        brought = [(each.peer_id, (each.blob, each.weight)) for each in swaps[0].contributions]
        assert brought == sorted(offered.items())
    assert [peer.faults for peer in peers] == [[]] * count


def test_alone_our_own_blob_comes_back_at_once(swarm: Swarm) -> None:
    peer = swarm.add()
    swap = swarm.swap(peer, blob(1)).result()
    assert blobs(swap) == {peer.peer_id: blob(1)}
    assert (peer.exchange.bytes_sent, peer.exchange.bytes_received) == (0, 0)
    with pytest.raises(ExchangeError):  # once an epoch
        swarm.swap(peer, blob(1)).result()


def test_a_member_that_never_comes_costs_the_time_for_gathering_and_no_more(swarm: Swarm) -> None:
    # half of a round is all that a leader waits otherwise: longer than a test may take
    peers = [swarm.add(gather_seconds=1.0, round_seconds=3600.0) for _ in range(3)]
    leader, other, absent = swarm.in_order(1, peers)
    swapping = gather(swarm, leader, [other])
    began = time.monotonic()
    swaps = [each.result() for each in swapping]
    assert time.monotonic() - began > 0.5
    assert swaps[0] == swaps[1]
    assert absent.peer_id not in blobs(swaps[0])
    assert len(swaps[0].contributions) == 2


def test_a_leader_that_is_late_leads_all_the_same(swarm: Swarm) -> None:
    peers = [swarm.add() for _ in range(3)]
    for each in [swarm.swap(peer, blob(1)) for peer in peers]:
        each.result()
    late, *others = swarm.in_order(2, peers)
    swapping = [swarm.swap(peer, blob(1), epoch=2) for peer in others]
    for _ in others:  # both blobs are with it
        assert late.has_checked.acquire(timeout=60)
    swapping.append(swarm.swap(late, blob(2), epoch=2))
    swaps = [each.result() for each in swapping]
    assert swaps[0] == swaps[1] == swaps[2]
    assert blobs(swaps[0])[late.peer_id] == blob(2)


def test_after_a_dead_leader_the_next_one_leads(swarm: Swarm) -> None:
    door, *peers = [swarm.add(gather_seconds=1.0) for _ in range(5)]
    dead = swarm.in_order(1, peers)[0]
    epoch = epoch_led_by(dead.peer_id, [each.peer_id for each in (door, *peers)])
    dead.exchange.close()
    peers = [each for each in swarm.peers if each is not dead]
    leader, *others = swarm.in_order(epoch, peers)
    swaps = [each.result() for each in gather(swarm, leader, others, epoch)]
    assert all(swap == swaps[0] for swap in swaps)
    assert blobs(swaps[0]).keys() == {peer.peer_id for peer in peers}


def test_a_leader_that_dies_in_the_middle_fails_the_round_for_all(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = swarm.add()
    leader, *others = [swarm.add() for _ in range(3)]
    others.append(door)
    epoch = epoch_led_by(leader.peer_id, [each.peer_id for each in others])
    leading = lead_and_wait(swarm, leader, epoch)
    swapping = [swarm.swap(peer, blob(1), epoch=epoch) for peer in others]
    for _ in others:  # all blobs are with it
        assert leader.has_checked.acquire(timeout=60)
    # nobody waits any longer for a leader that is gone
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600.0)
    monkeypatch.setattr(follower, "time", later)
    leader.exchange.close()
    with pytest.raises(ExchangeError):
        leading.result()
    for each, peer in zip(swapping, others, strict=True):
        with pytest.raises(ExchangeError):
            each.result()
        assert peer.faults == [(leader.peer_id, PartFault.SILENT)]
    monkeypatch.undo()
    swapping = [swarm.swap(peer, blob(2), epoch=epoch + 1, others=others) for peer in others]
    assert all(len(each.result().contributions) == 3 for each in swapping)


def test_a_member_that_nobody_can_call_takes_part(swarm: Swarm) -> None:
    peers = [swarm.add(), swarm.add(), swarm.add(client_mode=True)]
    swapping = [swarm.swap(peer, blob(number)) for number, peer in enumerate(peers)]
    swaps = [each.result() for each in swapping]
    assert swaps[0] == swaps[1] == swaps[2]
    assert set(blobs(swaps[0]).values()) == {blob(0), blob(1), blob(2)}


@pytest.mark.slow  # a busy machine makes all lines slow
def test_on_a_slow_line_a_blob_leaves_once(swarm: Swarm) -> None:
    peers = [swarm.add() for _ in range(5)]
    _leader, slow, *_rest = swarm.in_order(1, peers)
    slow.exchange._member.line.upload = limit = BandwidthLimit()
    limit.set(200_000)
    size = 1_000_000
    swapping = [swarm.swap(peer, blob(n, size)) for n, peer in enumerate(peers)]
    swaps = [each.result() for each in swapping]
    assert all(swap == swaps[0] for swap in swaps)
    assert len(swaps[0].contributions) == 5
    assert slow.exchange.bytes_sent < 2 * size
    for peer in peers:
        assert 4 * size <= peer.exchange.bytes_received < 5 * size


@pytest.mark.slow
def test_members_serve_each_other(swarm: Swarm) -> None:
    peers = [swarm.add() for _ in range(5)]
    size = 2_000_000
    for peer in peers:
        peer.exchange._member.line.upload = limit = BandwidthLimit()
        limit.set(4_000_000)
    swapping = [swarm.swap(peer, blob(n, size)) for n, peer in enumerate(peers)]
    for each in swapping:
        each.result()
    sent = sorted(peer.exchange.bytes_sent / size for peer in peers)
    strategy = TrainingSpec(strategy="diloco", target_batch_size=1, sequence_length=1)
    update = update_bytes(strategy, parameters=1000)
    copies = round_upload(strategy, parameters=1000, peers=5).usual / update
    assert 5 * copies <= sum(sent) < 1.1 * 5 * copies  # 20 copies must be sent
    assert sent[-1] < 8  # the leader alone could send all but the first four


def test_an_interrupted_swap_raises(swarm: Swarm) -> None:
    peers = [swarm.add() for _ in range(2)]
    leader, other = swarm.in_order(1, peers)
    lead_and_wait(swarm, leader, 1)
    swapping = swarm.swap(other, blob(1))
    assert leader.has_checked.acquire(timeout=60)
    other.exchange.interrupt()
    with pytest.raises(ExchangeError):
        swapping.result()
    other.exchange.close()
    other.exchange.close()
    with pytest.raises(ExchangeError):
        swarm.swap(other, blob(1), epoch=2).result()


def test_who_comes_late_gets_the_same_set_without_its_own(swarm: Swarm) -> None:
    peers = [swarm.add(gather_seconds=0.5) for _ in range(3)]
    leader, other, late = swarm.in_order(1, peers)
    swaps = [each.result() for each in gather(swarm, leader, [other])]
    came = swarm.swap(late, blob(2)).result()
    assert came.contributions == swaps[0].contributions == swaps[1].contributions
    included = blobs(came).keys()
    assert (leader.peer_id in included, late.peer_id in included) == (True, False)


def fetching(
    swarm: Swarm, peer: Peer, members: Sequence[Peer | str], epoch: int = 1
) -> "Future[Swap]":
    ids = [each if isinstance(each, str) else each.peer_id for each in members]
    return swarm.pool.submit(peer.exchange.fetch, epoch=epoch, members=ids, seconds=120.0)


def test_who_takes_no_part_gets_what_a_round_brought_when_it_is_over(swarm: Swarm) -> None:
    peers = [swarm.add() for _ in range(3)]
    newcomer, *members = peers
    gone = swarm.identity().peer_id
    early = fetching(swarm, newcomer, [*members, gone])
    swaps = [swarm.swap(peer, blob(n), others=members) for n, peer in enumerate(members)]
    late = fetching(swarm, newcomer, members)
    for fetched in (early, late):
        assert fetched.result().contributions == swaps[0].result().contributions
        assert newcomer.peer_id not in blobs(fetched.result())
    next_one = [swarm.swap(peer, blob(5), epoch=2) for peer in peers]  # now it does
    assert len(next_one[0].result().contributions) == 3
    assert [peer.faults for peer in peers] == [[]] * 3


def test_what_a_peer_learnt_alone_gets_to_who_comes_later(swarm: Swarm) -> None:
    alone, newcomer, late = (swarm.add() for _ in range(3))
    epoch = epoch_led_by(alone.peer_id, [late.peer_id])
    swap = swarm.swap(alone, blob(1), others=[], epoch=epoch).result()
    fetched = fetching(swarm, newcomer, [alone], epoch=epoch).result()
    assert fetched.contributions == swap.contributions
    came = swarm.swap(late, blob(2), others=[alone], epoch=epoch).result()
    assert came.contributions == swap.contributions
    assert late.peer_id not in blobs(came)


def test_a_round_of_long_ago_is_refused(swarm: Swarm) -> None:
    member, newcomer = swarm.add(), swarm.add()
    for epoch in (1, 2, 3):
        swarm.swap(member, blob(epoch), epoch=epoch, others=[]).result()
    with pytest.raises(GoneRoundError):
        fetching(swarm, newcomer, [member]).result()
    assert len(fetching(swarm, newcomer, [member], epoch=3).result().contributions) == 1


def test_a_member_whose_round_failed_says_so(swarm: Swarm) -> None:
    newcomer, *members = (swarm.add() for _ in range(3))
    leader, member = swarm.in_order(1, members)
    lead_and_wait(swarm, leader, 1)
    swapping = swarm.swap(member, blob(1), others=members)
    assert leader.has_checked.acquire(timeout=60)
    fetched = fetching(swarm, newcomer, [member])
    member.exchange.interrupt()
    with pytest.raises(ExchangeError):
        swapping.result()
    with pytest.raises(GoneRoundError):
        fetched.result()


def test_what_has_arrived_of_a_round_is_not_fetched_again(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [swarm.add() for _ in range(2)]
    leader, other = swarm.in_order(1, peers)
    whole = Fetching.run

    async def broken(self: Fetching, sources: Collection[str]) -> None:
        await whole(self, sources)
        raise FetchError

    monkeypatch.setattr(Fetching, "run", broken)
    swapping = [swarm.swap(peer, blob(n)) for n, peer in enumerate((leader, other))]
    with pytest.raises(ExchangeError):
        swapping[1].result()
    monkeypatch.undo()
    received = other.exchange.bytes_received
    fetched = fetching(swarm, other, [leader]).result()
    assert fetched == swapping[0].result()
    assert other.exchange.bytes_received == received


def test_rounds_follow_each_other_and_old_ones_are_forgotten(swarm: Swarm) -> None:
    peers = [swarm.add() for _ in range(2)]
    for epoch in range(1, 6):
        swapping = [swarm.swap(peer, blob(epoch, 1000), epoch=epoch) for peer in peers]
        assert swapping[0].result() == swapping[1].result()
    for peer in peers:
        assert peer.exchange._member._rounds._rounds.keys() == {4, 5}


def test_the_exchange_of_other_tests_behaves_as_the_real_one() -> None:
    hub = MemoryHub()
    peers: dict[str, Exchange] = {name: MemoryExchange(hub, name) for name in "cab"}
    with ThreadPoolExecutor() as pool:
        swapping = [
            pool.submit(
                peer.swap, epoch=1, blob=name.encode(), weight=1.0, expected=set("abc") - {name}
            )
            for name, peer in peers.items()
        ]
        swaps = [each.result() for each in swapping]
        assert all(swap == swaps[0] for swap in swaps)
        assert [each.peer_id for each in swaps[0].contributions] == ["a", "b", "c"]
        waiting = pool.submit(peers["a"].swap, epoch=2, blob=b"", weight=1.0, expected=["b"])
        while 2 not in hub.offers:
            time.sleep(0.001)
        peers["a"].interrupt()
        with pytest.raises(ExchangeError):
            waiting.result()
