"""What the embedded peer sees of its swarm."""

from dataclasses import dataclass


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

    eta: float | None = None
    """Seconds until the epoch's target batch is full."""
