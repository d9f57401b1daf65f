"""The protocols of what the API needs of the app around it: each route sees only its part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from app.common.paths import Folders
from app.contributions.outbox import OutboxState
from app.machine.hardware import Reading
from app.state.store import Store
from app.swarm.recents import Recent

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec


class SwarmAccess(Protocol):
    """Being in a swarm: what callers may see and change of it (`app.swarm.membership`)."""

    @property
    def joined(self) -> bool:
        """Our peer is in a swarm."""

    @property
    def spec(self) -> "SwarmSpec | None":
        """Of the swarm that we are in or about to enter."""

    @property
    def last_spec(self) -> "SwarmSpec | None":
        """Of the swarm that we entered last in this run of the app."""

    async def join(self, spec: "SwarmSpec | None") -> bool:
        """Enter a swarm, leaving the one that we are in."""

    async def leave(self) -> None:
        """Stop training and leave the swarm."""

    async def connect(self, peer_id: str, *, host: str, port: int) -> str:
        """Connect to one more peer; returns its multiaddr."""


class KnownSwarms(Protocol):
    """The swarms that were joined before (`app.swarm.recents`)."""

    async def load(self) -> Sequence[Recent]:
        """All of them, the newest first."""


class Host(Protocol):
    """The session, as far as the local API as a whole needs it.

    Only `app.callback.server` dispatches events; the routes get the store as a `ReadableStore`.
    """

    @property
    def folders(self) -> Folders:
        """Where the tokens and the audit log lie."""

    @property
    def store(self) -> Store:
        """Settings and state."""

    @property
    def swarm(self) -> SwarmAccess:
        """Being in a swarm."""

    @property
    def recents(self) -> KnownSwarms:
        """The swarms that were joined before."""


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
