"""Machines that need no hardware: keys, records, readings."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.common.signing import MachineKey
from app.machine.hardware import Reading
from app.p2p.machine_records import MachineRecord
from app.swarm.fleet import Fleet


def new_key() -> MachineKey:
    """A key that is in no file."""
    return MachineKey(Ed25519PrivateKey.generate())


def record(**changes: Any) -> MachineRecord:
    """A machine that trains; ``changes`` replace its fields."""
    values: dict[str, Any] = {
        "sequence": 1,
        "time": 1000.0,
        "alias": "lab-01",
        "lab": "vision-lab",
        "device": "NVIDIA GeForce RTX 4090",
        "app_version": "0.1.0",
        "state": "training",
        "peer_ids": ("QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX",),
        "samples_per_second": 102.0,
        "tokens_per_second": 13_056.0,
        "loss": 2.4,
        "epoch": 12,
        "gpu_use": 0.97,
        "gpu_memory": 24 * 2**30,
        "gpu_memory_used": 18 * 2**30,
        "cpu_use": 0.2,
        "memory": 64 * 2**30,
        "memory_used": 20 * 2**30,
        "temperature": 64.0,
        "power": 200.0,
        "up_seconds": 604_800.0,
        "samples": 121_872,
        "rounds": 240,
    }
    return MachineRecord(**values | changes)


DEVICES = ("RTX 4090", "RTX 3080", "A5000", "RTX 4070", "M2 Max")
LABS = ("vision-lab", "speech-lab", "robotics", "")
STATES = (*["training"] * 7, "averaging", "watching", "paused")


def crowd(count: int, *, now: float, seed: int = 1) -> dict[str, MachineRecord]:
    """Many machines, each one a little different. The keys are numbers: nothing is signed."""
    chance = random.Random(seed)
    return {
        f"key-{number:05}": record(
            time=now - chance.random() * 5,
            alias=f"machine-{number:04}",
            lab=chance.choice(LABS),
            device=chance.choice(DEVICES),
            state=chance.choice(STATES),
            peer_ids=(f"peer-{number:05}",),
            samples_per_second=chance.uniform(40, 200),
            loss=chance.uniform(2.3, 2.5),
            temperature=chance.uniform(50, 84),
            power=chance.uniform(120, 400),
            up_seconds=chance.uniform(60, 2_000_000),
        )
        for number in range(count)
    }


def fill(fleet: Fleet, records: dict[str, MachineRecord], *, now: float, hours: float = 1) -> None:
    """Put machines in, with a past."""
    chance = random.Random(2)
    steps = round(hours * 360)
    for public_key, last in records.items():
        rate = last.samples_per_second or 0.0
        for step in range(steps, -1, -1):
            told = rate * chance.uniform(0.95, 1.05) if step else rate
            past = {"sequence": steps - step + 1, "time": now - 10.0 * step}
            changed = {field: getattr(last, field) for field in last.__struct_fields__}
            fleet.take(
                {public_key: MachineRecord(**changed | past | {"samples_per_second": told})},
                now - 10.0 * step,
            )


@dataclass
class RecordedProbe:
    """Readings that were taken before, one after the other, the last one for ever."""

    readings: Sequence[Reading]
    reads: int = field(default=0, init=False)
    closed: bool = field(default=False, init=False)

    def read(self) -> Reading:
        self.reads += 1
        return self.readings[min(self.reads, len(self.readings)) - 1]

    def close(self) -> None:
        self.closed = True


class HangingProbe:
    """A driver that gives no answer until it may. asked: it was asked for figures. calls: so many
    threads have called it."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.calls = 0

    def read(self) -> Reading:
        self.asked.set()
        self._hang()
        return Reading()

    def close(self) -> None:
        self._hang()

    def _hang(self) -> None:
        self.calls += 1
        self.may_answer.wait()
