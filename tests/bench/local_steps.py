"""What training by local steps costs in loss, and how many bytes it saves:

    python tests/bench/local_steps.py [--seeds N] [--peers 2 4 8] [--scheme dense:every=15 ...]

Virtual peers in one process and thread train a GPT-2 of 0.22 million parameters on the built-in
text. After a warm-up by gradient averaging, each scheme goes on from the same weights and
optimizer, with the same samples: 8 a peer and step. Prints held-out loss and bytes against gradient
averaging by as many peers in the same run, as a Markdown table.

Bytes are those that a peer sends, by the size of the blobs. Gradients travel as float16 in a
butterfly, 2 (n − 1) / n times their size a step for n peers, and so do dense updates, each round;
sparse ones are sent once.
"""

import argparse
import copy
import dataclasses
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch

from app.spec import schema
from app.trainer.data.corpus import tokenized
from app.trainer.data.documents import PythonDocs
from app.trainer.data.tokenizer import ByteTokens
from app.trainer.local_steps.codec import Codec
from app.trainer.local_steps.dense import DenseCodec
from app.trainer.local_steps.outer import outer_optimizer, set_model, step
from app.trainer.local_steps.residual import Residual
from app.trainer.local_steps.sparse import SparseCodec
from app.trainer.model.build import build_model
from app.trainer.model.loss import loss_of
from app.trainer.room import Room

LENGTH = 64
"""Tokens of a sample."""

BATCH = 8
"""Samples of a peer in one step."""

RATE = 3e-3
"""Of AdamW, at its highest: it rises over the first steps and falls by a cosine to a tenth."""

RISING = 50
"""Steps."""

HELD_OUT = 0.1
"""Of the text."""

EVALUATED = 512
"""Samples of the held-out text."""

Tensors = list[torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How peers exchange what they learnt."""

    kind: str
    """dense or sparse."""

    every: int
    """Inner steps of a round."""

    rate: float
    """Of the outer optimizer, as is the next."""

    momentum: float = 0.0

    bits: int = 4
    """Of a value of a dense update."""

    keep: int = 64
    """Values of 4,096 in a sparse update."""

    decay: float = 0.95
    """Of the residual of sparse updates."""

    carry: bool = False
    """A peer's weights keep what it has not sent. The residual is then part of the next update, and
    the codec's own residual must not count it again: decay is 0."""

    def codec(self, shapes: list[torch.Size]) -> Codec:
        """The codec of its updates."""
        if self.kind == "dense":
            assert self.bits in {4, 8, 16}
            return DenseCodec(shapes, bits=self.bits)  # type: ignore[arg-type]
        return SparseCodec(shapes, keep=self.keep)

    @property
    def name(self) -> str:
        """For the table."""
        said = f"H = {self.every}, outer {self.rate:g}"
        if self.kind == "dense":
            return f"`diloco`, {self.bits} bit, {said}, momentum {self.momentum:g}"
        momentum = f", momentum {self.momentum:g}" if self.momentum else ""
        return f"`sparseloco`, k = {self.keep}, {said}{momentum}, " + (
            "carried" if self.carry else f"decay {self.decay:g}"
        )


SCHEMES = (
    Scheme(kind="dense", every=15, rate=0.7, momentum=0.9),
    Scheme(kind="sparse", every=10, rate=1.0, keep=128),
)


class Machine:
    """A model with its inner optimizer."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=RATE, weight_decay=0.1)

    def copy(self) -> "Machine":
        """Another machine with the same weights and moments."""
        other = Machine(copy.deepcopy(self.model))
        other.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        return other

    def step(self, samples: torch.Tensor, *, rate: float) -> None:
        """One step of the inner optimizer."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss_of(self.model, samples).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()


class Task:
    """The text, and what is drawn of it in which order."""

    def __init__(self, *, seed: int, peers: int, steps: int, folder: Path) -> None:
        tokens = tokenized(PythonDocs(), tokenizer=ByteTokens(), cache=folder)
        self._tokens = torch.from_numpy(np.asarray(tokens).astype(np.int64))
        self._border = int(len(tokens) * (1 - HELD_OUT))
        self._seed, self._batch, self.steps = seed, BATCH * peers, steps

    def machine(self) -> Machine:
        """A machine with fresh weights."""
        spec = schema.parse(
            {
                "run_id": "bench",
                "model_config": {
                    "model_type": "gpt2",
                    "n_layer": 4,
                    "n_head": 4,
                    "n_embd": 64,
                    "n_positions": LENGTH,
                    **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
                },
                "training_params": {
                    "target_batch_size": self._batch,
                    "sequence_length": LENGTH,
                    "seed": self._seed,
                },
                "dataset_info": {"source": "builtin", "name": "python-docs"},
            }
        )
        size, room = ByteTokens().vocabulary_size, Room(device=torch.device("cpu"))
        return Machine(build_model(spec, vocabulary_size=size, room=room))

    def batch(self, number: int) -> torch.Tensor:
        """The samples of a step: int64, shape [BATCH * peers, LENGTH + 1]."""
        generator = np.random.default_rng((self._seed, number))
        return self._windows(generator.integers(0, self._border - LENGTH - 1, size=self._batch))

    def rate(self, number: int) -> float:
        """The inner optimizer's rate in a step."""
        share = 0.55 + 0.45 * math.cos(math.pi * number / self.steps)
        return RATE * share * min(1.0, (number + 1) / RISING)

    @torch.no_grad()
    def loss(self, model: torch.nn.Module) -> float:
        """Mean cross-entropy (nats a byte) of held-out samples, the same ones for all."""
        generator = np.random.default_rng(0)
        most = len(self._tokens) - LENGTH - 1
        samples = self._windows(generator.integers(self._border, most, size=EVALUATED))
        losses = [float(loss_of(model, part)) for part in samples.split(64)]
        return statistics.fmean(losses)

    def _windows(self, begins: np.ndarray) -> torch.Tensor:
        places = torch.from_numpy(begins)[:, None] + torch.arange(LENGTH + 1)
        return self._tokens[places]


def averaged(task: Task, machine: Machine, steps: range) -> Machine:
    """Train by gradient averaging: the mean of the peers' gradients is that of one large batch."""
    for number in steps:
        machine.step(task.batch(number), rate=task.rate(number))
    return machine


class Round:
    """Virtual peers that exchange updates by a scheme."""

    def __init__(self, start: Machine, scheme: Scheme, *, peers: int) -> None:
        self.outer = [torch.nn.Parameter(each.detach().clone()) for each in start.parameters]
        self.machines = [start.copy() for _peer in range(peers)]
        self._nothing = [torch.zeros_like(each.data) for each in self.outer]
        self.bytes = 0
        shapes = [each.shape for each in self.outer]
        self._scheme, self._codec = scheme, scheme.codec(shapes)
        self._optimizer = outer_optimizer(self.outer, rate=scheme.rate, momentum=scheme.momentum)
        decay = 0.0 if scheme.carry else scheme.decay
        self._residuals = [Residual(shapes, decay=decay) for _peer in range(peers)]

    def exchange(self) -> None:
        """End a round: encode, average, apply, and set all models."""
        sent = [
            self._sent(machine, residual)
            for machine, residual in zip(self.machines, self._residuals, strict=True)
        ]
        blobs = [blob for blob, _unsent in sent]
        step(self._optimizer, self._codec.mean(blobs, [1.0] * len(blobs)))
        for machine, (_blob, unsent) in zip(self.machines, sent, strict=True):
            kept = [-each for each in unsent] if self._scheme.carry else self._nothing
            set_model(machine.parameters, self.outer, kept)
        self.bytes += max(map(len, blobs))

    def _sent(self, machine: Machine, residual: Residual) -> tuple[bytes, Tensors]:
        """A peer's blob, and what it did not send."""
        delta = [
            outer.detach() - inner.detach()
            for outer, inner in zip(self.outer, machine.parameters, strict=True)
        ]
        if self._scheme.kind == "dense":
            return self._codec.encode(delta).blob, self._nothing
        wanted = residual.add(delta)
        encoded = self._codec.encode(wanted)
        residual.take(encoded.decoded)
        return encoded.blob, wanted


def by_local_steps(
    task: Task, start: Machine, scheme: Scheme, *, peers: int, steps: range
) -> tuple[float, float]:
    """Held-out loss of the outer weights, and how many times fewer bytes than gradients."""
    together = Round(start, scheme, peers=peers)
    for number in steps:
        parts = task.batch(number).split(BATCH)
        for machine, samples in zip(together.machines, parts, strict=True):
            machine.step(samples, rate=task.rate(number))
        if (number - steps.start + 1) % scheme.every == 0:
            together.exchange()
    butterfly = 2 * (peers - 1) / peers
    gradients = 2 * sum(each.numel() for each in together.outer) * butterfly * len(steps)
    copies = butterfly if scheme.kind == "dense" else 1.0
    model = together.machines[0].model
    set_model(
        model.parameters(), together.outer, [torch.zeros_like(each) for each in model.parameters()]
    )
    return task.loss(model), gradients / (copies * together.bytes)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run of a scheme."""

    loss: float
    """Nats a byte."""

    more: float
    """By how much that is above gradient averaging's, as a share of it."""

    fewer: float
    """How many times fewer bytes it sent."""


def measured(
    schemes: tuple[Scheme, ...], arguments: argparse.Namespace, folder: Path
) -> Iterator[tuple[int, Scheme | None, Result]]:
    """Each run as it ends, with the number of peers; None for gradient averaging."""
    last = arguments.warmup + arguments.steps
    steps = range(arguments.warmup, last)
    for peers in arguments.peers:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            task = Task(seed=seed, peers=peers, steps=last, folder=folder)
            start = averaged(task, task.machine(), range(arguments.warmup))
            base = task.loss(averaged(task, start.copy(), steps).model)
            yield peers, None, Result(loss=base, more=0.0, fewer=1.0)
            for scheme in schemes:
                loss, fewer = by_local_steps(task, start, scheme, peers=peers, steps=steps)
                yield peers, scheme, Result(loss=loss, more=loss / base - 1, fewer=fewer)


def parsed(text: str) -> Scheme:
    """A scheme from, for instance, sparse:keep=64,every=6,rate=1."""
    kind, _colon, rest = text.partition(":")
    base = {scheme.kind: scheme for scheme in SCHEMES}[kind]
    given = dict(part.split("=") for part in rest.split(",") if part)
    kinds = {name: type(getattr(base, name)) for name in given}
    return dataclasses.replace(base, **{name: kinds[name](value) for name, value in given.items()})


def row(peers: int, scheme: Scheme | None, results: list[Result]) -> str:
    """A line of the table."""
    loss = statistics.fmean(result.loss for result in results)
    if scheme is None:
        return f"| {peers} | gradient averaging | {loss:.4f} | | | 1 |"
    more = [100 * result.more for result in results]
    each = ", ".join(f"{share:+.2f}" for share in more)
    mean, fewer = statistics.fmean(more), min(result.fewer for result in results)
    return f"| {peers} | {scheme.name} | {loss:.4f} | {mean:+.2f} % | {each} | {fewer:.0f} |"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--peers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--warmup", type=int, default=240, help="steps of gradient averaging")
    parser.add_argument("--steps", type=int, default=720, help="steps after them")
    parser.add_argument("--scheme", type=parsed, nargs="+", default=SCHEMES)
    arguments = parser.parse_args()
    schemes = tuple(arguments.scheme)
    if any(arguments.steps % scheme.every for scheme in schemes):
        parser.error("--steps must be a multiple of every H")
    torch.set_num_threads(1)
    runs: dict[tuple[int, Scheme | None], list[Result]] = {}
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        for peers, scheme, result in measured(schemes, arguments, Path(folder)):
            runs.setdefault((peers, scheme), []).append(result)
            print(row(peers, scheme, [result]), file=sys.stderr, flush=True)
    print("| peers | scheme | held-out loss | against averaging | by seed, % | fewer bytes |")
    print("|---|---|---|---|---|---|")
    for (peers, scheme), results in sorted(runs.items(), key=lambda item: item[0][0]):
        print(row(peers, scheme, results))
    print(f"\n{time.process_time() - began:.0f} s of one core")


if __name__ == "__main__":
    main()
