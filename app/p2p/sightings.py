"""What a peer sees of its swarm."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PeerInfo:
    """A peer that the embedded node is connected to. last_seen: when we last saw that it is,
    seconds since the epoch. relayed: by way of another peer. latency: seconds there and back,
    None where not measured, or where the peer is no node of the DHT and so can't be asked."""

    peer_id: str
    address: str
    last_seen: float = 0.0
    relayed: bool = False
    latency: float | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """The swarm's training. samples: gathered for the epoch under way; trainers: peers that
    train, trainer_ids: which; samples_per_second: all of them together; loss: mean cross-entropy
    per token over them; eta: seconds until the target batch is full. None where not known."""

    epoch: int = 0
    samples: int = 0
    trainers: int = 0
    trainer_ids: frozenset[str] = frozenset()
    samples_per_second: float | None = None
    loss: float | None = None
    eta: float | None = None
