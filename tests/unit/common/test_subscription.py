"""A listener is called until its subscription is closed, and only its own one is taken away."""

from collections.abc import Callable

from app.common.subscription import Subscription, subscribed


def test_a_closed_subscription_takes_away_its_listener_alone() -> None:
    heard: list[int] = []
    listeners: list[Callable[[int], None]] = []
    first = subscribed(listeners, heard.append)
    subscribed(listeners, heard.append)
    first.close()
    first.close()
    for listener in listeners:
        listener(1)
    assert heard == [1]


def test_one_of_nothing_is_closed_already() -> None:
    Subscription().close()
