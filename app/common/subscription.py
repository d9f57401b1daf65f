"""What everybody holds who listens to something, and ends it with."""

from collections.abc import Callable
from typing import TypeVar

L = TypeVar("L")


class Subscription:
    """One listener of something, until `close`. Made without an argument, it is closed already.

    end: takes the listener away; called once.
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
