"""Who is left out, and until when: never who is slow, and nobody for what others say of him."""

import pytest

from app.p2p.sightings import PartFault
from app.trainer.averaging.offences import (
    AGAINST_ROUNDS,
    EVICTION_SECONDS,
    MOST_PEERS,
    STRIKE_SECONDS,
    Evictions,
    Offence,
    Offences,
    sentence,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def evictions(clock: Clock) -> Evictions:
    return Evictions(clock)


def offend(evictions: Evictions, fault: PartFault, *, rounds: int, peer: str = "Qm") -> None:
    for number in range(rounds):
        evictions.note(peer, fault, group_id=f"{fault} {number}".encode())


@pytest.mark.parametrize("fault", ["not-finite", "shape", "weight", "group"])
def test_second_round_with_a_fault_evicts_for_ten_minutes(
    evictions: Evictions, clock: Clock, fault: str
) -> None:
    offend(evictions, PartFault(fault), rounds=1)
    assert "Qm" not in evictions
    offend(evictions, PartFault(fault), rounds=2)
    assert evictions.seconds_left("Qm") == EVICTION_SECONDS
    clock.now += EVICTION_SECONDS - 1.0
    assert "Qm" in evictions
    clock.now += 1.0
    assert "Qm" not in evictions


@pytest.mark.parametrize("fault", ["silent", "far", "copy", "average"])
def test_what_an_honest_peer_may_do_never_evicts(evictions: Evictions, fault: str) -> None:
    offend(evictions, PartFault(fault), rounds=100)
    assert "Qm" not in evictions


def test_gradient_against_ours_in_round_after_round_evicts(evictions: Evictions) -> None:
    offend(evictions, PartFault.AGAINST, rounds=AGAINST_ROUNDS - 1)
    assert "Qm" not in evictions
    offend(evictions, PartFault.AGAINST, rounds=AGAINST_ROUNDS)
    assert "Qm" in evictions


def test_gradient_against_ours_now_and_then_does_not_evict(evictions: Evictions) -> None:
    for number in range(100):
        group_id = str(number).encode()
        if number % AGAINST_ROUNDS:
            evictions.note("Qm", PartFault.AGAINST, group_id=group_id)
        evictions.end_round(group_id, ["Qm", "QmOther"])
    assert "Qm" not in evictions


def test_several_faults_of_one_round_count_once(evictions: Evictions) -> None:
    for fault in (PartFault.SHAPE, PartFault.NOT_FINITE, PartFault.WEIGHT):
        evictions.note("Qm", fault, group_id=b"one")
    assert "Qm" not in evictions


def test_old_strike_is_forgotten(evictions: Evictions, clock: Clock) -> None:
    evictions.note("Qm", PartFault.SHAPE, group_id=b"one")
    clock.now += STRIKE_SECONDS
    evictions.note("Qm", PartFault.SHAPE, group_id=b"two")
    assert "Qm" not in evictions


def test_peer_that_comes_back_needs_two_rounds_again(evictions: Evictions, clock: Clock) -> None:
    offend(evictions, PartFault.SHAPE, rounds=2)
    clock.now += EVICTION_SECONDS
    evictions.note("Qm", PartFault.SHAPE, group_id=b"later")
    assert "Qm" not in evictions


def test_many_offenders_take_bounded_memory(evictions: Evictions) -> None:
    for number in range(3 * MOST_PEERS):
        evictions.note(f"Qm{number}", PartFault.SHAPE, group_id=b"one")
    assert len(evictions._strikes) == MOST_PEERS
    evictions.note("Qm0", PartFault.SHAPE, group_id=b"two")
    assert "Qm0" not in evictions


def offence(fault: PartFault, until: float | None = None) -> Offence:
    return Offence(peer_id="QmOther", fault=fault, time=1000.0, evicted_until=until)


def test_offences_reach_the_trainer() -> None:
    offences = Offences()
    told = [offence(PartFault.SHAPE), offence(PartFault.SILENT)]
    for each in told:
        offences.add(each)
    found: list[Offence] = []
    while len(found) < 2:  # a thread of the queue hands them over
        found += offences.take()
    assert found == told
    offences.close()


def test_log_calls_nobody_hostile_for_being_slow() -> None:
    slow = sentence(offence(PartFault.SILENT), what="gradients", epoch=17)
    assert slow == (
        "the peer QmOther did not answer in time when gradients were averaged, in epoch 17:"
        " it may be slow or out of reach"
    )
    evicted = sentence(offence(PartFault.NOT_FINITE, 2000.0), what="gradients", epoch=17)
    assert "sent values that are not finite when gradients were averaged, in epoch 17" in evicted
    assert "it shares no group with us until" in evicted
