"""What our peers see of their swarm."""

from dataclasses import dataclass
from enum import StrEnum

from app.common.i18n import _


@dataclass(frozen=True, kw_only=True)
class PeerInfo:
    """A peer that the embedded peer is connected to."""

    peer_id: str

    address: str
    """A multiaddr without the peer id, "" when unknown."""

    last_seen: float = 0.0
    """When the connection was last seen, in seconds since the epoch."""

    relayed: bool = False
    """The connection goes through a relay."""

    latency: float | None = None
    """The round-trip time in seconds; None before it is measured, and for a peer that is no node
    of the DHT, which can't be pinged."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The training of the whole swarm. None stands for what isn't known."""

    epoch: int = 0

    samples: int = 0
    """Samples that were gathered so far for the current epoch."""

    trainers: int = 0
    """How many peers train."""

    trainer_ids: frozenset[str] = frozenset()
    """The ids of the peers that train."""

    samples_per_second: float | None = None
    """The sum over all trainers."""

    loss: float | None = None
    """Cross-entropy per token, the mean over the trainers."""

    held_out_loss: float | None = None
    """Cross-entropy per token of text that nobody trains on, the mean over the trainers that
    evaluated lately."""

    eta: float | None = None
    """Seconds until the epoch's target batch is full."""


class PartFault(StrEnum):
    """What was wrong with what a member of an averaging round sent. The values are messages'."""

    SHAPE = "shape"
    NOT_FINITE = "not-finite"
    WEIGHT = "weight"
    AGAINST = "against"
    FAR = "far"
    COPY = "copy"
    AVERAGE = "average"
    GROUP = "group"  # a leader that changed what members say of themselves
    SILENT = "silent"  # slow, out of reach or gone: nothing that only a hostile peer does

    @property
    def text(self) -> str:
        """What the member did, for the user: the rest of a sentence that begins with the member."""
        return {
            PartFault.SHAPE: _("sent a tensor of the wrong shape or size"),
            PartFault.NOT_FINITE: _("sent values that are not finite"),
            PartFault.WEIGHT: _("sent a weight that nobody can have"),
            PartFault.AGAINST: _("sent a gradient that points against ours"),
            PartFault.FAR: _("sent parameters that are far from ours"),
            PartFault.COPY: _("sent the same tensor as another member"),
            PartFault.AVERAGE: _("returned an average that can't be one"),
            PartFault.GROUP: _("led a group and changed what its members said"),
            PartFault.SILENT: _("did not answer in time"),
        }[self]
