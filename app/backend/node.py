"""What the backend lists of this machine."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class NodeData:
    """address: a multiaddr; compute_capacity: samples/s; bandwidth: KB/s."""

    address: str = ""
    public_key: str = ""
    compute_capacity: float = 0.0
    bandwidth: float = 0.0

    def document(self) -> dict[str, Any]:
        """By the backend's names."""
        return {
            "address": self.address,
            "publicKey": self.public_key,
            "computeCapacity": self.compute_capacity,
            "bandwidth": self.bandwidth,
        }


class NodeSource(Protocol):
    """Knows what the backend is to be told of this machine."""

    def data(self) -> NodeData:
        """As of now."""
