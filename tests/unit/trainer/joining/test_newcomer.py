"""A newcomer takes the state of a donor that can be believed, and no other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import torch

from app.p2p.states.download import DonorCalls
from app.p2p.states.wire import StateRefusal
from app.protocol import StateDownload
from app.trainer.joining import newcomer as module
from app.trainer.joining.newcomer import Newcomer
from app.trainer.peer.traffic import Traffic
from tests.support.training.states import EPOCH, Donor, SmallState, SmallSwarm


@dataclass(kw_only=True)
class Trial:
    """What a newcomer did."""

    epoch: int | None
    state: SmallState
    reports: list[StateDownload]
    traffic: Traffic


class WaitsError(Exception):
    """It would wait and look again."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_seconds: float) -> None:
        raise WaitsError

    monkeypatch.setattr(module.asyncio, "sleep", sleep)


def counted(traffic: Traffic) -> Callable[[int], Awaitable[None]]:
    async def arrived(size: int) -> None:
        traffic.count_received(size)

    return arrived


async def join(*donors: Donor, steps: int = 0, others: int = 1) -> Trial:
    state, swarm, reports = SmallState(steps=steps), SmallSwarm.of(*donors), []
    swarm.others = others
    traffic = Traffic()
    peer = Newcomer(state=state, swarm=swarm, report=reports.append)
    try:
        epoch = await peer.take_over(DonorCalls(stub=swarm.stub, arrived=counted(traffic)))
    except WaitsError:
        epoch = -1
    return Trial(epoch=epoch, state=state, reports=reports, traffic=traffic)


def honest(steps: int = 40) -> Donor:
    return Donor(content=bytes(SmallState(steps=steps).content()))


def hostile(change: str) -> Donor:
    state = SmallState(steps=40)
    weight, statistics = state.model.weight.data, state.optimizer.state[state.model.weight]
    match change:
        case "garbage":
            weight.copy_(100 * torch.randn_like(weight))
        case "nan":
            weight[0, 3] = torch.nan
        case "moments":
            statistics["exp_avg"].fill_(1e6)
            statistics["exp_avg_sq"].zero_()
        case "negative":
            statistics["exp_avg_sq"].fill_(-1.0)
        case "steps":
            statistics["step"].fill_(1e9)
    return Donor(content=bytes(state.content()))


async def test_takes_over_parameters_and_statistics() -> None:
    donor = honest()
    trial = await join(donor)
    assert trial.epoch == EPOCH
    assert trial.state.content() == donor.content
    assert trial.traffic.received >= len(donor.content)
    last = trial.reports[-1]
    assert last.received == last.size == len(donor.content)


@pytest.mark.parametrize("change", ["garbage", "nan", "moments", "negative", "steps"])
async def test_hostile_state_is_refused_and_ours_stays(change: str) -> None:
    trial = await join(hostile(change), steps=10)
    assert trial.epoch == -1
    assert trial.state.content() == SmallState(steps=10).content()
    assert "loss" in trial.reports[-1].problem


@pytest.mark.parametrize("change", ["garbage", "nan", "moments", "negative", "steps"])
@pytest.mark.parametrize("first", [True, False])
async def test_honest_donor_wins_against_a_hostile_one(change: str, first: bool) -> None:
    bad, good = hostile(change), honest()
    trial = await join(*((bad, good) if first else (good, bad)))
    assert trial.epoch == EPOCH
    assert trial.state.content() == good.content


async def test_two_that_agree_are_believed_though_a_third_looks_better() -> None:
    better, good = honest(steps=400), honest(steps=40)
    trial = await join(better, good, honest(steps=41))
    assert trial.epoch == EPOCH
    assert trial.state.content() == good.content


async def test_goes_on_from_another_donor_where_the_first_broke_off() -> None:
    gone, other = honest(), honest()
    gone.breaks_after = 20
    trial = await join(gone, other)
    assert trial.state.content() == other.content
    assert other.asked[0].ranges[0][0] == 20


@pytest.mark.parametrize("refusal", list(StateRefusal))
async def test_another_donor_is_asked_after_a_refusal(refusal: StateRefusal) -> None:
    refusing = honest()
    refusing.refusal = refusal
    trial = await join(refusing, honest())
    assert trial.epoch == EPOCH


async def test_more_than_was_asked_for_is_not_taken() -> None:
    endless, good = honest(), honest()
    endless.extra = 1
    trial = await join(endless, good)
    assert trial.epoch == EPOCH
    assert trial.state.content() == good.content


async def test_donor_of_another_size_is_another_model() -> None:
    other = honest()
    other.size = 2**50
    trial = await join(other)
    assert "another model" in trial.reports[-1].problem


async def test_nobody_left_means_our_own_state() -> None:
    trial = await join(others=0)
    assert trial.epoch is None


async def test_waits_while_others_train_but_give_no_state() -> None:
    trial = await join(others=3)
    assert trial.epoch == -1
    assert trial.reports[-1].problem


async def test_asks_again_when_the_swarm_got_far_ahead() -> None:
    old = honest()
    old.epoch = EPOCH - module.MOST_BEHIND - 1
    trial = await join(old)
    assert trial.epoch == EPOCH
    assert (
        len([each for each in old.asked if len(each.ranges) == 1]) == module.MOST_DOWNLOADS_IN_A_ROW
    )
