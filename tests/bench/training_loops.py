"""Ways to train the same model on the same data with one thread, one after the other:

    python tests/bench/training_loops.py torch|tuned|compiled|hivemind|trainer

Prints samples per second over `EPOCHS` optimizer steps, the first one not counted. The bare loops
are what a person would write by hand; they share only model and data with the app. ``tuned`` has
the app's setting of the C library's heap and a fused optimizer as well, ``compiled`` also
`torch.compile` of model and loss.
"""

import asyncio
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from app import protocol
from app.demo import demo_spec
from app.p2p.network import Network, listening
from app.trainer.pinned.downloads import Downloads
from app.trainer.process import Priority
from app.trainer.room import Room

EPOCHS = 2
SPEC = demo_spec()
TARGET = SPEC.training.target_batch_size
MICRO = SPEC.training.micro_batch_size
assert isinstance(MICRO, int)


class Clock:
    """Samples per second between the end of the first epoch and that of the last."""

    def __init__(self) -> None:
        self.samples = 0
        self.marks: list[tuple[float, int]] = []

    def epoch_ended(self) -> bool:
        """Note the time; True when that was the last epoch."""
        self.marks.append((time.perf_counter(), self.samples))
        return len(self.marks) > EPOCHS

    @property
    def rate(self) -> float:
        (begin, before), (end, after) = self.marks[0], self.marks[-1]
        return (after - before) / (end - begin)


def model_and_data(folder: str):  # noqa: ANN201  (torch is imported late)
    import torch

    from app.trainer.data.opening import open_data
    from app.trainer.model.build import build_model
    from app.trainer.model.loss import loss_of

    torch.set_num_threads(1)
    batches = open_data(SPEC, identity=b"bench", downloads=Downloads(cache=Path(folder)))
    device = torch.device("cpu")
    model = build_model(
        SPEC, vocabulary_size=batches.vocabulary_size, room=Room(device=device)
    ).train()
    return model, batches, loss_of


def bare_torch(folder: str) -> float:
    """Gradient accumulation over a target batch, as anybody writes it."""
    import torch

    model, batches, loss_of = model_and_data(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0)
    return accumulating(model, batches, loss_of, optimizer)


def tuned_torch(folder: str, *, compiles: bool = False) -> float:
    """The same with what makes the app's trainer fast."""
    import torch

    from app.trainer import heap

    heap.keep()
    model, batches, loss_of = model_and_data(folder)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0, fused=True
    )
    return accumulating(model, batches, torch.compile(loss_of) if compiles else loss_of, optimizer)


def accumulating(model, batches, loss_of, optimizer) -> float:  # noqa: ANN001
    """The loop itself."""
    clock, done = Clock(), False
    while not done:
        for _ in range(TARGET // MICRO):
            loss = loss_of(model, batches.next(MICRO))
            (loss / (TARGET // MICRO)).backward()
            clock.samples += MICRO
        optimizer.step()
        optimizer.zero_grad()
        done = clock.epoch_ended()
    return clock.rate


def bare_hivemind(folder: str) -> float:
    """The quick start of hivemind's documentation with this model and data."""
    import hivemind
    import torch

    model, batches, loss_of = model_and_data(folder)
    dht = hivemind.DHT(start=True)
    optimizer = hivemind.Optimizer(
        dht=dht,
        run_id="bench",
        target_batch_size=TARGET,
        batch_size_per_step=MICRO,
        params=model.parameters(),
        optimizer=lambda params: torch.optim.AdamW(
            params, lr=3e-3, betas=(0.9, 0.95), weight_decay=0
        ),
        matchmaking_time=SPEC.training.averaging.matchmaking_seconds,
        averaging_timeout=60.0,
    )
    clock, done = Clock(), False
    while not done:
        epoch = optimizer.local_epoch
        loss_of(model, batches.next(MICRO)).backward()
        optimizer.step()
        optimizer.zero_grad()
        clock.samples += MICRO
        done = optimizer.local_epoch > epoch and clock.epoch_ended()
    optimizer.shutdown()
    dht.shutdown()
    return clock.rate


def app_trainer(folder: str) -> float:
    """The app's own trainer process, alone in its swarm."""
    return asyncio.run(_app_trainer(Path(folder)))


async def _app_trainer(folder: Path) -> float:
    from app.training.supervisor import Trainer

    clock, done = Clock(), asyncio.Event()

    def note(report: protocol.Report) -> None:
        match report:
            case protocol.RoundEnded(samples=samples):
                clock.samples += samples
                if clock.epoch_ended():
                    done.set()

    worker = await Trainer.spawn(on_report=note)
    await worker.command(
        protocol.Start,
        spec=SPEC.to_json(),
        initial_peers=(),
        identity_file=str(folder / "trainer.pem"),
        checkpoint_dir=str(folder / "checkpoints"),
        cache_dir=str(folder / "cache"),
        device="cpu",
        threads=1,
        evaluates=False,  # as the bare loops; `evaluating.py` measures what it costs
        network=Network(listen=listening(0, local=True), local=True),
    )
    await done.wait()
    await worker.stop()
    return clock.rate


if __name__ == "__main__":
    Priority().lower()  # as the app's trainer does: other work on the machine hits all alike
    with tempfile.TemporaryDirectory() as scratch:
        loops = {
            "torch": bare_torch,
            "tuned": tuned_torch,
            "compiled": partial(tuned_torch, compiles=True),
            "hivemind": bare_hivemind,
            "trainer": app_trainer,
        }
        print(loops[sys.argv[1]](scratch), flush=True)
        sys.stdout.flush()
        if sys.argv[1] == "hivemind":
            os._exit(0)  # hivemind's threads would keep the interpreter waiting
