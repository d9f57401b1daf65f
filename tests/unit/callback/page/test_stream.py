"""What a reader of the curves gets: each point once, and all anew where they are others."""

import time

from app.callback.page.stream import CurveFeed
from app.p2p.sightings import Run
from app.state.events import JoinBegan, RunObserved
from app.state.facts import Swarm
from app.state.history import RESOLUTIONS, History

SWARM = Swarm(run_id="run", title="", model_type="", dataset="", target_batch_size=0)


def observed(history: History, now: float, loss: float) -> None:
    history.record(RunObserved(run=Run(loss=loss)), now)


def test_resolution_is_the_finest_that_reaches_so_far() -> None:
    spans = {600: 1.0, 3600: 12.0, 86400: 144.0, 1209600: 1728.0}
    assert {each: CurveFeed(History(), each).resolution for each in spans} == spans
    assert set(spans.values()) == set(RESOLUTIONS)


def test_points_are_sent_once_and_the_last_one_again_when_it_changes() -> None:
    history, now = History(), float(int(time.time()))
    feed = CurveFeed(history, 600)
    assert feed.take("") is None
    for second in (3, 2):
        observed(history, now - second, 1.0 + second)
    first = feed.take("")
    assert first is not None
    assert first["curves"] == {"swarm_loss": [(now - 2.5, 4.0), (now - 1.5, 3.0)]}
    assert feed.take("") is None
    observed(history, now - 2, 5.0)  # the mean of its second
    observed(history, now, 1.0)
    second_time = feed.take("")
    assert second_time is not None
    assert second_time["curves"] == {"swarm_loss": [(now - 1.5, 4.0), (now + 0.5, 1.0)]}
    assert not second_time["reset"]


def test_points_out_of_reach_are_not_sent() -> None:
    history, now = History(), time.time()
    observed(history, now - 700, 9.0)
    observed(history, now - 1, 1.0)
    told = CurveFeed(history, 600).take("")
    assert told is not None
    assert [value for _, value in told["curves"]["swarm_loss"]] == [1.0]


def test_another_swarm_voids_what_was_sent() -> None:
    history, now = History(), time.time()
    feed = CurveFeed(history, 600)
    observed(history, now - 2, 1.0)
    feed.take("a")
    history.record(JoinBegan(swarm=SWARM), now)
    told = feed.take("a")  # the same one, entered again
    assert told == {"reset": True, "resolution": 1.0, "curves": {}}
    observed(history, now - 1, 2.0)
    assert feed.take("a") is not None
    other = feed.take("b")
    assert other is not None
    assert other["reset"]
    assert len(other["curves"]["swarm_loss"]) == 1


def test_earlier_points_that_are_put_back_are_sent() -> None:
    history, now = History(), float(int(time.time()))
    feed = CurveFeed(history, 600)
    observed(history, now, 1.0)
    feed.take("")
    for resolution in RESOLUTIONS:
        earlier = int((now - 300) // resolution) - 1
        history.swarm_loss.restore(resolution, [(earlier, 8.0, 2)])
    told = feed.take("")
    assert told is not None
    assert told["reset"]
    assert told["curves"]["swarm_loss"][0][1] == 4.0
