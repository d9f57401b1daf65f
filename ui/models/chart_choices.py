"""What the charts of all pages show, from one start to the next."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app.common.paths import read_json, write_atomically

log = logging.getLogger(__name__)

FILE_NAME = "charts.json"
"""In the data folder."""

MAX_BYTES = 1024


@dataclass(frozen=True)
class ChartView:
    """What is chosen above the charts; a key that is offered no more stands for the first one."""

    along: str = ""
    """What they run along: the value of an `AxisKind`."""

    smoothing: str = ""
    """The value of a `Smoothing`."""

    seconds: float = 600.0
    """The span, up to now; 0: all."""


class ChartChoices(QObject):
    """The view that all charts share, in a small file; without it, or with a damaged one, they
    begin as they did at first."""

    changed = Signal()

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self.view = self._read()

    def _read(self) -> ChartView:
        try:
            content = read_json(self._file, most=MAX_BYTES)
        except (OSError, ValueError):
            return ChartView()
        match content:
            case {
                "along": str() as along,
                "smoothing": str() as smoothing,
                "seconds": int() | float() as seconds,
            }:
                return ChartView(along, smoothing, float(seconds))
        return ChartView()

    def choose(self, view: ChartView) -> None:
        """Show this from now on, on all pages."""
        if view != self.view:
            self.view = view
            self.changed.emit()

    def save(self) -> None:
        """Keep the view for the next start."""
        try:
            write_atomically(self._file, json.dumps(asdict(self.view)).encode())
        except OSError as error:
            log.warning("what the charts show can't be noted: %s", error)
