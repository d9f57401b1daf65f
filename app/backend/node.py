"""What this machine tells the backend about itself, for the backend's list of nodes."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class NodeData:
    """A node of the backend's list."""

    address: str = ""
    """Multiaddr of the app's peer; "" while it has none."""

    public_key: str = ""
    """Of this machine's key, base64."""

    compute_capacity: float = 0.0
    """Samples per second."""

    bandwidth: float = 0.0
    """KB of 1000 bytes per second."""

    def document(self) -> dict[str, Any]:
        """As a JSON object, in the backend's field names."""
        return {
            "address": self.address,
            "publicKey": self.public_key,
            "computeCapacity": self.compute_capacity,
            "bandwidth": self.bandwidth,
        }


class NodeSource(Protocol):
    """Gives this machine's data for the backend."""

    def data(self) -> NodeData:
        """The data of this moment."""
