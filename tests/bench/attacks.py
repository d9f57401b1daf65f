"""`make attacks`: one of four peers is hostile throughout; what does it cost the others?

python tests/bench/attacks.py [--epochs N] [--strategy diloco|sparseloco] [ATTACK…]

Three honest trainers and a hostile process of plain hivemind (`tests/support/training/hostile.py`)
train the tiny spec on the built-in text. After N epochs the loss of the first trainer's last
checkpoint is measured on text that is the same each time, and held against the run of the three
alone, in the same call. The table is that of `docs/threats.md`.

With a strategy of local steps, the hostile process is a trainer of ours that lies in the exchange
of blobs (`tests/support/training/hostile_trainer.py`).

"unequal" is no attack: the fourth peer is a plain hivemind script that behaves, a trainer computes
for a tenth of the time, and one sends 50 kB a second. Nobody may be evicted.
"""

import argparse
import asyncio
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
os.environ["COTRAIN_NICENESS"] = "0"  # else a busy machine leaves the trainers no time
sys.path.insert(0, str(ROOT))

from app import protocol  # noqa: E402
from app.spec import schema as specs  # noqa: E402
from app.trainer.checkpoint import CheckpointFolder  # noqa: E402
from app.trainer.data.opening import open_data  # noqa: E402
from app.trainer.model.build import build_model  # noqa: E402
from app.trainer.model.loss import loss_of  # noqa: E402
from app.trainer.pinned.downloads import Downloads  # noqa: E402
from app.trainer.room import Room  # noqa: E402
from tests.support.processes.apps import tiny_spec, training  # noqa: E402
from tests.support.processes.attackers import hostile  # noqa: E402
from tests.support.processes.workers import HostileWorker, Worker  # noqa: E402

PACES: tuple[dict[str, Any], ...] = ({}, {"share": 0.1}, {"upload": 50_000})
"""Of the honest trainers in "unequal"."""

AVERAGING, LOCAL = "gradient-averaging", ("diloco", "sparseloco")
ATTACKS = (
    "unequal",
    *("nan", "inf", "sign", "thousand"),
    *("weight", "weight-zero", "weight-negative", "weight-nan"),
    *("shape", "huge", "slow", "silent", "reducer", "reducer-nan", "leader", "record"),
    *("donor:garbage", "donor:nan", "donor:endless", "donor:plain-garbage", "donor:plain-rate"),
)
LOCAL_ATTACKS = ("sign", "thousand", "garbage", "nan", "base", "weight", "copy", "noise", "silent")
"""Against `diloco` and `sparseloco`."""

SAMPLES = 256

PATIENCE = 3600.0
"""Seconds for a run, on a busy machine."""


def main() -> None:
    """Run the attacks that the command line names, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--strategy", default=AVERAGING, choices=(AVERAGING, *LOCAL))
    parser.add_argument("attacks", nargs="*")
    wanted = parser.parse_args()
    attacks = ATTACKS if wanted.strategy == AVERAGING else LOCAL_ATTACKS
    sys.stdout.write(
        "| attack | held-out loss | against none | rounds until named | as | evicted |\n"
        "|---|---|---|---|---|---|\n"
    )
    base = math.nan
    for attack in ("none", *(wanted.attacks or attacks)):
        spec = spec_of(wanted.strategy, wanted.epochs)
        loss, rounds, fault, evicted = asyncio.run(run(attack, spec))
        base = loss if attack == "none" else base
        named = "–" if rounds is None else str(rounds)
        worse = f"{loss / base - 1:+.1%}"
        sys.stdout.write(f"| {attack} | {loss:.3f} | {worse} | {named} | {fault} | {evicted} |\n")
        sys.stdout.flush()


def spec_of(strategy: str, epochs: int) -> dict[str, Any]:
    """The tiny spec; with local steps, an epoch has enough of them for a newcomer to catch up."""
    changes: dict[str, Any] = {"optimizer": {"name": "adamw", "learning_rate": 3e-3}}
    if strategy != AVERAGING:
        changes |= {"strategy": strategy, "target_batch_size": 8192}
        changes[strategy] = {"local_batch_size": 48}
    return tiny_spec(training_params=training(stop={"epochs": epochs}, **changes))


async def run(attack: str, spec: dict[str, Any]) -> tuple[float, int | None, str, int]:
    """The held-out loss, after how many rounds the hostile peer was named, as what, and how many
    peers were evicted by any trainer."""
    is_local = spec["training_params"].get("strategy") is not None
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(Path(folder, str(number))) for number in range(len(PACES))]
        first, *others = workers
        async with AsyncExitStack() as stack:
            await start(first, spec, (), stack)
            (ready,) = first.all(protocol.Ready)
            if is_local and attack not in ("none", "unequal"):
                liar = HostileWorker(Path(folder, "liar"), attack)
                await start(liar, spec, ready.addresses, stack)
            elif attack != "none":
                kind = "plain" if attack == "unequal" else attack
                log = Path(folder, "log")
                await stack.enter_async_context(hostile(kind, ready.addresses, log))
            await asyncio.gather(*(start(each, spec, ready.addresses, stack) for each in others))
            if attack == "unequal":
                for worker, pace in zip(workers, PACES, strict=True):
                    await worker.trainer.command(protocol.Pace, **pace)
            await first.until(lambda: bool(first.all(protocol.Ended)), seconds=PATIENCE)
        loss = held_out_loss(spec, first.folder)
    faults = [each for worker in workers for each in worker.all(protocol.MemberAtFault)]
    evicted = {each.peer_id for each in faults if each.evicted_until}
    return loss, *named(first), len(evicted)


async def start(
    worker: Worker, spec: dict[str, Any], addresses: Sequence[str], stack: AsyncExitStack
) -> None:
    """Start a trainer, which is stopped with the stack."""
    worker.folder.mkdir()
    await worker.start(spec=spec, initial_peers=tuple(addresses))
    stack.push_async_callback(worker.trainer.stop)


def named(worker: Worker) -> tuple[int | None, str]:
    """After how many rounds with others somebody was named first, and as what."""
    rounds = 0
    for report in worker.reports:
        rounds += isinstance(report, protocol.RoundEnded) and report.peers > 1
        if isinstance(report, protocol.MemberAtFault):
            return rounds, report.fault.value
    return None, ""


@torch.no_grad()
def held_out_loss(spec: dict[str, Any], folder: Path) -> float:
    """Mean cross-entropy per token (nats) of the newest checkpoint."""
    parsed = specs.parse(spec)
    checkpoint = CheckpointFolder(folder / "checkpoints", parsed).load_newest()
    assert checkpoint is not None
    room = Room(device=torch.device("cpu"), allowed=0)
    model = build_model(parsed, vocabulary_size=256, room=room)
    model.load_state_dict(checkpoint.model)
    batches = open_data(parsed, identity=b"held out", downloads=Downloads(cache=folder / "cache"))
    try:
        return float(loss_of(model.eval(), batches.next(SAMPLES)))
    finally:
        batches.close()


if __name__ == "__main__":
    main()
