"""What the API needs of the app around it, as narrow as it gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.common.paths import Folders
from app.contributions.outbox import OutboxState
from app.machine.hardware import Reading
from app.state.events import Event
from app.swarm.membership import Membership
from app.swarm.recents import Recents
from app.tasks.tasks import Contributor


class Host(Contributor, Protocol):
    """The session."""

    folders: Folders
    membership: Membership
    recents: Recents

    def dispatch(self, event: Event) -> None:
        """Let an event change the state."""


class ContributionSource(Protocol):
    """The ledger."""

    async def contributions(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest contributions, newest first, as JSON objects."""


class MachineSource(Protocol):
    """The machines' records in the DHT."""

    async def machines(self) -> Sequence[Mapping[str, Any]]:
        """The machines of the swarm that we are in, as JSON objects."""


class FigureSource(Protocol):
    """What the metrics tell besides the state."""

    async def reading(self) -> Reading:
        """How this machine does now."""

    async def outbox(self) -> Mapping[OutboxState, int]:
        """How many of its contributions are in which state."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is shown beyond the contract; the route of one that is None doesn't exist, and
    without figures the metrics tell the state alone."""

    contributions: ContributionSource | None = None
    machines: MachineSource | None = None
    figures: FigureSource | None = None
