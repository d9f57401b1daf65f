"""Where a trainer's downloads go, and as whom it asks for them."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Downloads:
    """The same for all that a spec pins."""

    cache: Path
    """The trainer's folder; each kind of file has its own below it."""

    sign_in: bool = False
    """At the Hugging Face hub, with the user's own sign-in."""

    context: ssl.SSLContext | None = None
    """TLS for https; None for the public certificate authorities."""

    @property
    def repositories(self) -> Path:
        """Files of the hub, by commit."""
        return self.cache / "repositories"

    @property
    def files(self) -> Path:
        """Files from https addresses, by hash."""
        return self.cache / "downloads"
