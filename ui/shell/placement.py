"""Where the window stood, its size, and which page it showed, from one start to the next."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QByteArray
from PySide6.QtWidgets import QWidget

from app.common.paths import read_json, write_atomically

log = logging.getLogger(__name__)

FILE_NAME = "window.json"
"""In the data folder."""

MAX_BYTES = 16 * 1024


class Placement:
    """Of one window, in a small file; without it, or with a damaged one, nothing is changed."""

    def __init__(self, file: Path, pages: Sequence[str]) -> None:
        """pages: the names of the pages, in order."""
        self._file = file
        self._pages = pages

    def restore(self, window: QWidget) -> int:
        """Put the window where it was; returns the index of its page.

        Qt itself keeps a window on the screens that are there.
        """
        try:
            content = read_json(self._file, most=MAX_BYTES)
        except (OSError, ValueError):
            return 0
        match content:
            case {"geometry": str() as geometry, "page": str() as page}:
                window.restoreGeometry(QByteArray.fromBase64(geometry.encode()))
                return self._pages.index(page) if page in self._pages else 0
        return 0

    def save(self, window: QWidget, page: int) -> None:
        """Note where the window is. page: the index of its page."""
        geometry = bytes(window.saveGeometry().toBase64().data()).decode()
        content = {"geometry": geometry, "page": self._pages[page]}
        try:
            write_atomically(self._file, json.dumps(content).encode())
        except OSError as error:
            log.warning("where the window stands can't be noted: %s", error)
