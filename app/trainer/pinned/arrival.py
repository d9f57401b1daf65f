"""Tells the app how far a download is, as often as a person wants to know."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from app.common.rate import Rate
from app.protocol import FileDownload

Downloaded = Literal["weights", "tokenizer", "data"]
"""What is downloaded, as `FileDownload` names it."""

OnArrival = Callable[[FileDownload], None]
"""Called while files arrive; any thread may call."""

REPORT_SECONDS = 0.5


class Arrival:
    """Of some files that belong together, one after the other.

    Says nothing of files that lie in the cache already.
    """

    def __init__(
        self,
        what: Downloaded,
        send: OnArrival | None = None,
        *,
        files: int = 1,
        size: int | None = None,
    ) -> None:
        """send: None to tell nobody. files: how many. size: bytes of all of them, if known."""
        self.size = size
        self._what: Downloaded = what
        self._send = send
        self._left = files
        self._before = 0  # bytes of the files that are complete
        self._rate = Rate()
        self._told_at: float | None = None

    def arrived(self, received: int, whole: int | None = None) -> None:
        """Report bytes of the file that is on its way, unless that was done just now.

        whole: how many it has, as far as the server says.
        """
        size = self.size
        if size is None and whole is not None and self._left == 1:
            size = self._before + whole
        received += self._before
        rate, now = self._rate.after(received), time.monotonic()
        if self._told_at is None or now - self._told_at >= REPORT_SECONDS:
            self._told_at = now
            left = None
            if size is not None and rate is not None and rate > 0:  # below 0: it begins anew
                left = max(0, size - received) / rate
            self._tell(received, size, left)

    def end_file(self, size: int) -> None:
        """A file is there, with this many bytes."""
        self._before += size
        self._left -= 1

    def end(self) -> None:
        """All files are there: the app need not show this any longer."""
        if self._told_at is not None:
            self._tell(self._before, self._before, 0.0)

    def _tell(self, received: int, size: int | None, left: float | None) -> None:
        if self._send is not None:
            report = FileDownload(what=self._what, received=received, size=size, seconds_left=left)
            self._send(report)

    @contextmanager
    def watching(self, received: Callable[[], int]) -> Iterator[None]:
        """Look again and again how much of a file there is, from a thread, since its download
        doesn't say."""
        if self._send is None:
            yield
            return
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(REPORT_SECONDS):
                self.arrived(received())

        thread = threading.Thread(target=watch, name="arrival", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
