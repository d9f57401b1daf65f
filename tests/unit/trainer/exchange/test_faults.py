"""Who is named, and who takes no part in rounds any more."""

import pytest

from app.p2p.sightings import PartFault
from app.trainer.averaging.offences import AGAINST_ROUNDS, STRIKES, Offence
from app.trainer.exchange.faults import Faults

LIAR, OTHER = "QmLiar", "QmOther"


@pytest.fixture
def said() -> list[tuple[int, Offence]]:
    return []


@pytest.fixture
def faults(said: list[tuple[int, Offence]]) -> Faults:
    return Faults(lambda epoch, offence: said.append((epoch, offence)))


def test_the_same_fault_of_a_round_is_named_once(
    faults: Faults, said: list[tuple[int, Offence]]
) -> None:
    for _ in range(5):
        faults.name(7, LIAR, PartFault.SHAPE)
    assert [(epoch, each.peer_id, each.evicted_until) for epoch, each in said] == [(7, LIAR, None)]
    assert not faults.is_evicted(LIAR)


def test_who_sends_nonsense_again_is_evicted(
    faults: Faults, said: list[tuple[int, Offence]]
) -> None:
    for epoch in range(STRIKES):
        faults.name(epoch, LIAR, PartFault.SHAPE)
    assert faults.is_evicted(LIAR)
    assert not faults.is_evicted(OTHER)
    assert said[-1][1].evicted_until is not None


def test_who_points_away_round_after_round_is_evicted(faults: Faults) -> None:
    for epoch in range(AGAINST_ROUNDS):
        assert not faults.is_evicted(LIAR)
        faults.judge(epoch, [LIAR, OTHER], {LIAR: PartFault.AGAINST})
    assert faults.is_evicted(LIAR)


def test_who_points_away_now_and_then_is_not(faults: Faults) -> None:
    for epoch in range(4 * AGAINST_ROUNDS):
        bad = {LIAR: PartFault.AGAINST} if epoch % AGAINST_ROUNDS else {}
        faults.judge(epoch, [LIAR, OTHER], bad)
    assert not faults.is_evicted(LIAR)


@pytest.mark.parametrize("fault", [PartFault.SILENT, PartFault.FAR, PartFault.COPY])
def test_what_an_honest_peer_may_do_evicts_nobody(faults: Faults, fault: PartFault) -> None:
    for epoch in range(20):
        faults.judge(epoch, [OTHER], {OTHER: fault})
    assert not faults.is_evicted(OTHER)
