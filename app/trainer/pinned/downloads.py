"""Where a trainer's downloads go, and as whom it asks for them."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.trainer.pinned.arrival import Arrival, Downloaded, OnArrival


@dataclass(frozen=True, kw_only=True)
class Downloads:
    """The same for all that a spec pins."""

    cache: Path
    """The trainer's folder; each kind of file has its own below it."""

    sign_in: bool = False
    """At the Hugging Face hub, with the user's own sign-in."""

    context: ssl.SSLContext | None = None
    """TLS for https; None for the public certificate authorities."""

    report: OnArrival | None = None
    """Told how far each download is; None to tell nobody."""

    @contextmanager
    def arriving(
        self, what: Downloaded, *, files: int = 1, size: int | None = None
    ) -> Iterator[Arrival]:
        """Files that belong together are downloaded in this block. Arguments as of `Arrival`."""
        arrival = Arrival(what, self.report, files=files, size=size)
        yield arrival
        arrival.end()

    @property
    def repositories(self) -> Path:
        """Files of the hub, by commit."""
        return self.cache / "repositories"

    @property
    def files(self) -> Path:
        """Files from https addresses, by hash."""
        return self.cache / "downloads"
