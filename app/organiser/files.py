"""Where the app keeps what concerns organisers, in its data folder."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OrganiserFiles:
    """Files in the data folder."""

    data: Path

    @property
    def key(self) -> Path:
        """The private key that signs the invites and rosters of the swarms that start here."""
        return self.data / "identities" / "organiser.pem"

    @property
    def known(self) -> Path:
        """The organisers of the swarms that were joined, with their public keys (JSON)."""
        return self.data / "organisers.json"

    @property
    def rosters(self) -> Path:
        """The folder of the rosters."""
        return self.data / "rosters"

    def roster(self, run_id: str) -> Path:
        """The newest roster of a closed swarm, signed by its organiser."""
        return self.rosters / f"{run_id}.roster"
