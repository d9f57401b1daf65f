"""What several tests of the trainer need."""

from typing import Any

import pytest
import torch

from app.trainer import devices


class Event:
    """A place in a queue. How many were waited for is what `late_device` counts."""

    def __init__(self, waited: list["Event"]) -> None:
        self._waited = waited

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        self._waited.append(self)


@pytest.fixture
def late_device(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Every device computes late, as a GPU does; the list of what was waited for."""
    original, waited = devices.LateValues.__init__, list[Event]()

    def late(values: Any, _device: torch.device) -> None:
        original(values, torch.device("cuda"), event=lambda: Event(waited))

    monkeypatch.setattr(devices.LateValues, "__init__", late)
    return waited
