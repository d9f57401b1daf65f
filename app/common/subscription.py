"""One type for every subscription: whoever subscribes gets an object to end it with."""

from collections.abc import Callable
from typing import TypeVar

L = TypeVar("L")


class Subscription:
    """A listener's place among those that are called, until `close`.

    end: removes the listener; called once. Without it, the subscription is closed from the start,
    which serves a holder that subscribes later.
    """

    def __init__(self, end: Callable[[], object] | None = None) -> None:
        self._end = end

    def close(self) -> None:
        """Call the listener no more. May be called twice."""
        end, self._end = self._end, None
        if end is not None:
            end()


def subscribed(listeners: list[L], listener: L) -> Subscription:
    """Add a listener to a list; closing the subscription removes it again."""
    listeners.append(listener)
    return Subscription(lambda: listeners.remove(listener))
