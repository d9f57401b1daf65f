"""What several tests of the trainer need."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from app.trainer.step.trying import RandomSteps
from app.trainer.step.waiting import LateValues


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
    original, waited = LateValues.__init__, list[Event]()

    def late(values: Any, _device: torch.device) -> None:
        original(values, torch.device("cuda"), event=lambda: Event(waited))

    monkeypatch.setattr(LateValues, "__init__", late)
    return waited


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes torch.compile give a network that takes so many seconds; below zero it fails."""

    class Compiled(torch.nn.Module):
        pass

    def pretend(seconds: float) -> None:
        def seconds_of(_steps: RandomSteps, network: torch.nn.Module, _samples: int) -> float:
            if not isinstance(network, Compiled):
                return 1.0
            if seconds < 0:
                raise RuntimeError("no C compiler")
            return seconds

        monkeypatch.setattr(torch, "compile", lambda _model: Compiled())
        monkeypatch.setattr(RandomSteps, "seconds", seconds_of)

    return pretend
