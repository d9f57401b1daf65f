"""A run as its progress records show it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SwarmProgress:
    """The run as this peer sees it."""

    epoch: int
    """The newest epoch that any peer is in."""

    own_samples: int
    """Samples of this peer in the epoch that runs."""

    swarm_samples: int
    """Samples of all peers in the epoch that runs, at most ``target_batch_size``."""

    target_batch_size: int
    """Samples of all peers that end an epoch."""

    peers: int
    """Trainers in the run, this one included."""

    eta: float | None
    """Seconds until the epoch ends, None where not known."""

    own_steps: int | None = None
    """Optimizer steps of this peer alone since it last sent what it learnt; None for a strategy
    without such steps."""

    exchanging: bool = False
    """A round runs."""
