"""The memory that training may take."""

import mmap
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace

import psutil
import pytest
import torch

from app.trainer.room import Room

CPU, GPU = torch.device("cpu"), torch.device("cuda:1")
SIZE = 64 * 2**20


def test_all_that_is_free_unless_less_is_allowed() -> None:
    available = Room(device=CPU).free
    assert 0 < available <= psutil.virtual_memory().total
    assert Room(device=CPU, allowed=2**60).free <= psutil.virtual_memory().total
    assert Room(device=CPU, allowed=1).free < 0  # this very process takes more


@contextmanager
def memory_of_our_own() -> Iterator[None]:
    with mmap.mmap(-1, SIZE) as taken:
        taken.write(b"x" * SIZE)
        yield


@contextmanager
def memory_of_a_child() -> Iterator[None]:
    child = subprocess.Popen(
        [sys.executable, "-c", f"kept = b'x' * {SIZE}; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        yield


@pytest.mark.parametrize("memory", [memory_of_our_own, memory_of_a_child])
def test_what_its_processes_take_counts(
    memory: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Room, "available", 2**40)  # other programs' doing
    room = Room(device=CPU, allowed=2**34)

    def taken() -> int:
        before = room.free
        with memory():
            return before - room.free

    # of the libraries we have a share, which changes whenever another test's process comes or goes
    assert any(taken() == pytest.approx(SIZE, rel=0.3) for _ in range(10))


def test_a_gpu_refuses_more_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    fractions: list[tuple[float, torch.device]] = []
    properties = SimpleNamespace(total_memory=8 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (7 * 2**30, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 2**30)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda *asked: fractions.append(asked)
    )
    for allowed in (0, 2 * 2**30, 2**40):
        Room(device=GPU, allowed=allowed).enforce()
    assert fractions == [(0.25, GPU), (1.0, GPU)]
    assert Room(device=GPU).free == 7 * 2**30
    assert Room(device=GPU, allowed=2 * 2**30).free == 2**30
