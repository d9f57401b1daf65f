"""How fast reporting goes, and by which clocks."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DeliveryPace:
    """Times in seconds."""

    first: float = 15.0
    """First pause of the back-off."""

    longest: float = 3600.0
    """Longest pause of the back-off."""

    settle: float = 90.0
    """How long after a lost answer the backend may still be counting the report. More than
    `UNACKNOWLEDGED_SECONDS`, during which the kernel may still be sending it."""

    poll: float = 60.0
    """Longest pause between two looks at the outbox."""

    recall: float = 6 * 3600.0
    """Pause between two looks at what the backend still knows, while nothing happens."""

    recall_again: float = 15 * 60.0
    """The same after the connection was lost."""


USUAL = DeliveryPace()


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Two clocks, in seconds."""

    wall: Callable[[], float] = time.time
    """Since the epoch, for times that are kept. It may jump."""

    steady: Callable[[], float] = time.monotonic
    """Monotonic, for waits."""


SYSTEM = Clock()
