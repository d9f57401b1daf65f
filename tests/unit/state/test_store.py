"""The store: who is told of a change, and in which order."""

import logging

import pytest

from app.settings.settings import Settings
from app.state.events import Event, JoinBegan, ProblemDismissed, ProblemRaised
from app.state.facts import Problem
from app.state.state import ContributorState, Phase
from app.state.store import Store


@pytest.fixture
def store() -> Store:
    return Store(settings=Settings(), state=ContributorState())


def test_events_come_before_states_each_in_the_order_of_subscription(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.state.store")
    heard: list[tuple[str, Phase, int]] = []

    def on_state(name: str) -> None:
        store.subscribe(lambda state: heard.append((name, state.phase, len(caplog.records))))

    def on_event(name: str) -> None:
        store.subscribe_to_events(
            lambda _event, state: heard.append((name, state.phase, len(caplog.records)))
        )

    on_state("window")
    on_event("history")
    on_event("contributions")
    on_state("display")
    store.dispatch(JoinBegan(swarm=None))
    assert heard == [
        ("history", Phase.JOINING, 0),
        ("contributions", Phase.JOINING, 0),
        ("window", Phase.JOINING, 1),
        ("display", Phase.JOINING, 1),
    ]
    assert [record.getMessage() for record in caplog.records] == ["joining"]


def test_states_are_told_when_they_differ_and_events_always(store: Store) -> None:
    states: list[ContributorState] = []
    events: list[Event] = []
    store.subscribe(states.append)
    store.subscribe_to_events(lambda event, _state: events.append(event))
    store.dispatch(ProblemDismissed())
    assert (states, events) == ([], [ProblemDismissed()])


def test_who_has_closed_its_subscription_hears_no_more(store: Store) -> None:
    states: list[ContributorState] = []
    subscription = store.subscribe(states.append)
    subscription.close()
    store.dispatch(JoinBegan(swarm=None))
    assert states == []


@pytest.mark.logs_error("a listener failed at JoinBegan")
def test_a_listener_that_fails_is_no_matter_of_the_others(store: Store) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    heard: list[Phase] = []
    store.subscribe_to_events(fail)
    store.subscribe_to_events(lambda _event, state: heard.append(state.phase))
    store.subscribe(fail)
    store.subscribe(lambda state: heard.append(state.phase))
    store.dispatch(JoinBegan(swarm=None))
    assert heard == [Phase.JOINING, Phase.JOINING]


def test_a_listener_may_dispatch(store: Store) -> None:
    def mend(state: ContributorState) -> None:
        if state.problem is not None:
            store.dispatch(ProblemDismissed())

    seen: list[Problem | None] = []
    store.subscribe(mend)
    store.subscribe(lambda state: seen.append(state.problem))
    store.dispatch(ProblemRaised(problem=Problem(message="is wrong.")))
    assert seen == [None, None]  # never the one that is mended already


def test_settings_are_in_force_at_once(store: Store) -> None:
    other = Settings(alias="lab-01")
    store.replace_settings(other)
    assert store.settings is other
