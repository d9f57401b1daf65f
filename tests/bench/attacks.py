"""`make attacks`: one of four peers is hostile throughout; what does it cost the others?

python tests/bench/attacks.py [--epochs N] [ATTACK…]

Three honest trainers and a hostile process of plain hivemind (`tests/support/training/hostile.py`)
train the tiny spec on the built-in text. After N epochs the loss of the first trainer's last
checkpoint is measured on text that is the same each time, and held against the run of the three
alone, in the same call. The table is that of `docs/threats.md`.
"""

import argparse
import asyncio
import math
import os
import sys
import tempfile
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
from app.trainer.room import Room  # noqa: E402
from tests.support.processes.apps import tiny_spec, training  # noqa: E402
from tests.support.processes.attackers import hostile  # noqa: E402
from tests.support.processes.workers import Worker  # noqa: E402

HONEST = 3
ATTACKS = (
    *("nan", "inf", "sign", "thousand"),
    *("weight", "weight-zero", "weight-negative", "weight-nan"),
    *("shape", "huge", "slow", "silent", "reducer", "reducer-nan", "leader", "record"),
    *("donor:garbage", "donor:nan", "donor:endless", "donor:plain-garbage", "donor:plain-rate"),
)
SAMPLES = 256


def main() -> None:
    """Run the attacks that the command line names, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("attacks", nargs="*", default=ATTACKS)
    wanted = parser.parse_args()
    sys.stdout.write("| attack | held-out loss | against none | rounds until named | as |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    base = math.nan
    for attack in ("none", *wanted.attacks):
        loss, rounds, fault = asyncio.run(run(attack, wanted.epochs))
        base = loss if attack == "none" else base
        named = "–" if rounds is None else str(rounds)
        sys.stdout.write(
            f"| {attack} | {loss:.3f} | {loss / base - 1:+.1%} | {named} | {fault} |\n"
        )
        sys.stdout.flush()


async def run(attack: str, epochs: int) -> tuple[float, int | None, str]:
    """The held-out loss, after how many rounds with the hostile peer it was named, and as what."""
    spec = tiny_spec(training_params=training(stop={"epochs": epochs}))
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(Path(folder, str(number))) for number in range(HONEST)]
        async with AsyncExitStack() as stack:
            addresses: tuple[str, ...] = ()
            for worker in workers:
                worker.folder.mkdir()
                await worker.start(spec=spec, initial_peers=addresses)
                stack.push_async_callback(worker.trainer.stop)
                (ready,) = worker.all(protocol.Ready)
                addresses = addresses or ready.addresses
            before = len(workers[0].all(protocol.RoundEnded))
            if attack != "none":
                await stack.enter_async_context(hostile(attack, addresses, Path(folder, "log")))
            await workers[0].until(lambda: bool(workers[0].all(protocol.Ended)))
        loss = held_out_loss(spec, workers[0].folder)
        return loss, *named(workers[0], before)


def named(worker: Worker, before: int) -> tuple[int | None, str]:
    """After how many rounds with the hostile peer it was named first, and as what."""
    rounds = 0
    for report in worker.reports:
        rounds += isinstance(report, protocol.RoundEnded)
        if isinstance(report, protocol.MemberAtFault) and rounds >= before:
            return rounds - before + 1, report.fault.value
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
    batches = open_data(parsed, identity=b"held out", cache=folder / "cache")
    try:
        return float(loss_of(model.eval(), batches.next(SAMPLES)))
    finally:
        batches.close()


if __name__ == "__main__":
    main()
