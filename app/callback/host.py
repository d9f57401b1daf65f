"""The protocols of what the API needs of the app around it."""

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
    """The session, as far as the API uses it."""

    folders: Folders
    membership: Membership
    recents: Recents

    def dispatch(self, event: Event) -> None:
        """Change the state by an event."""


class ContributionSource(Protocol):
    """Something that lists contributions: the ledger."""

    async def contributions(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest contributions, newest first, as JSON objects."""


class MachineSource(Protocol):
    """Something that lists the swarm's machines: their records in the DHT."""

    async def machines(self) -> Sequence[Mapping[str, Any]]:
        """The machines of the swarm that we are in, as JSON objects."""


class FigureSource(Protocol):
    """Figures for the metrics that are not in the state."""

    async def reading(self) -> Reading:
        """The current figures of this machine's hardware."""

    async def outbox(self) -> Mapping[OutboxState, int]:
        """How many of this machine's contributions are in each state."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the API shows beyond the calls that the CoTrain backend makes."""

    contributions: ContributionSource | None = None
    """None: there is no route for contributions."""

    machines: MachineSource | None = None
    """None: there is no route for machines."""

    figures: FigureSource | None = None
    """None: the metrics show the state only."""
