"""The protocols of what the API needs of the app. Each route sees only the part that it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from app.common.logs import RingBuffer
from app.common.paths import Folders
from app.contributions.ledger import LedgerEntry, LedgerTotals
from app.contributions.outbox import OutboxState
from app.machine.hardware import Reading
from app.state.history import History
from app.state.store import Store
from app.swarm.fleet import Machine
from app.swarm.recents import Recent

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec


class SwarmAccess(Protocol):
    """The swarm that this machine is in, as callers see and change it (`app.swarm.membership`)."""

    @property
    def joined(self) -> bool:
        """Whether the app's peer is in a swarm."""

    @property
    def spec(self) -> "SwarmSpec | None":
        """The spec of the swarm that the app is in or joining; None outside a swarm."""

    @property
    def last_spec(self) -> "SwarmSpec | None":
        """The spec of the swarm that was joined last in this run of the app; None if none was."""

    async def join(self, spec: "SwarmSpec | None") -> bool:
        """Leave the current swarm and join another.

        spec: None joins only the network of the setting ``initial_peers``, in no swarm. Returns
        False if a leave or another join came in between. Raises `JoinError`.
        """

    async def leave(self) -> None:
        """Stop training and leave the swarm."""

    async def connect(self, peer_id: str, *, host: str, port: int) -> str:
        """Connect to one more peer; returns its multiaddr."""


class TrainingAccess(Protocol):
    """Training in the swarm that this machine is in (`app.training.training`)."""

    async def start(self) -> None:
        """Start training, as soon as the volunteer's terms allow it. Raises `UserFacingError`."""

    async def stop(self) -> None:
        """Stop training, and stay in the swarm."""

    async def pause(self) -> None:
        """Pause training until `resume`. Raises `BusyError` when there is none."""

    async def resume(self) -> None:
        """Go on, if the volunteer's terms allow it. Raises `BusyError` when there is none."""


class WayBackAccess(Protocol):
    """The way back to the swarm of the app's last run (`app.swarm.way_back`)."""

    def give_up(self) -> None:
        """Don't go back, neither now nor at the next start."""


class KnownSwarms(Protocol):
    """The swarms that were joined before (`app.swarm.recents`)."""

    async def load(self) -> Sequence[Recent]:
        """All of them, the one joined last first."""


class Host(Protocol):
    """The session, as far as the local API as a whole needs it.

    Only `app.callback.server` dispatches events; the routes get the store as a `ReadableStore`.
    """

    @property
    def folders(self) -> Folders:
        """The folders of the tokens and the audit log."""

    @property
    def store(self) -> Store:
        """The settings and the state."""

    @property
    def swarm(self) -> SwarmAccess:
        """The swarm that this machine is in."""

    @property
    def training(self) -> TrainingAccess:
        """This machine's training."""

    @property
    def history(self) -> History:
        """The charts' curves, and the peers of the last half-hour."""

    @property
    def recents(self) -> KnownSwarms:
        """The swarms that were joined before."""

    @property
    def way_back(self) -> WayBackAccess:
        """Which may be under way."""


class ContributionSource(Protocol):
    """Something that lists contributions: the ledger."""

    async def contributions(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest contributions, newest first, as JSON objects."""

    async def newest(self, *, limit: int) -> Sequence[LedgerEntry]:
        """The same, as they are in the ledger."""

    async def totals(self) -> LedgerTotals:
        """Sums over all of them."""

    async def reporting(self) -> Mapping[str, Any]:
        """How reporting them goes, and where those to each swarm go."""


class MachineSource(Protocol):
    """Something that lists the swarm's machines: their records in the DHT."""

    async def machines(self) -> bytes:
        """The machines of the swarm that we are in, as a JSON array of objects."""

    def known(self) -> Sequence[Machine]:
        """The same machines, as they were read last."""

    @property
    def own_key(self) -> str:
        """The public key of this machine; "" before it is loaded."""

    @property
    def own_alias(self) -> str:
        """The name of this machine; "" before it has one."""


class FigureSource(Protocol):
    """Figures for the metrics that are not in the state."""

    async def reading(self) -> Reading:
        """The current figures of this machine's hardware."""

    async def outbox(self) -> Mapping[OutboxState, int]:
        """How many of this machine's contributions are in each state."""

    async def forgotten(self) -> int:
        """How many of them the backend had confirmed and no longer knows."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the API shows beyond the calls that the CoTrain backend makes."""

    contributions: ContributionSource | None = None
    """None: there is no route for contributions."""

    machines: MachineSource | None = None
    """None: there is no route for machines."""

    figures: FigureSource | None = None
    """None: the metrics show the state only."""

    log: RingBuffer | None = None
    """The newest log lines; None: the page shows no log."""
