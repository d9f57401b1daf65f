"""What optimizers, clipping and recomputing cost and bring, on one thread of a CPU:

    python tests/bench/learning.py kernels      an optimizer's step, fused and not
    python tests/bench/learning.py recompute    a step that computes activations twice
    python tests/bench/learning.py loss [--rates 0.003 0.01] [--seeds 2] [--steps 600]

`loss` trains the GPT-2 of `local_steps.py`, 0.22 million parameters on the built-in text, 16
samples a step, and prints held-out loss. Times are of the process, so that other load on the
machine matters less, and medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from app.spec import schema
from app.trainer.model.activations import recompute_activations
from app.trainer.model.build import build_model
from app.trainer.model.loss import loss_of
from app.trainer.model.optimizers import clip_before_steps, optimizer_for
from app.trainer.room import Room
from tests.bench.local_steps import LENGTH, RATE, Task

ROOM = Room(device=torch.device("cpu"))


def spec_of(*, layers: int, width: int, length: int, **optimizer: object) -> schema.SwarmSpec:
    """A GPT-2 without dropout, for a vocabulary of bytes."""
    sizes = {"n_layer": layers, "n_embd": width, "n_head": width // 64, "n_positions": length}
    without = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return schema.parse(
        {
            "run_id": "bench",
            "model_config": {"model_type": "gpt2", **sizes, **without},
            "training_params": {
                "target_batch_size": 64,
                "sequence_length": length,
                "optimizer": optimizer,
            },
            "dataset_info": {"source": "builtin"},
        }
    )


def seconds(act: Callable[[], object], *, times: int) -> float:
    """Of the process, the median of some times after a first one."""
    act()
    found = []
    for _ in range(times):
        began = time.process_time()
        act()
        found.append(time.process_time() - began)
    return statistics.median(found)


def kernels() -> None:
    """The table of an optimizer's step."""
    print("| optimizer | seconds a step |\n|---|---|")
    for name, fused in (("adamw", False), ("adamw", True), ("muon", True)):
        spec = spec_of(layers=6, width=512, length=256, name=name)
        model = build_model(spec, vocabulary_size=256, room=ROOM)
        count = sum(each.numel() for each in model.parameters())
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter) * 1e-3
        optimizer = optimizer_for(spec, model, fused=fused)(model.parameters())
        took = seconds(optimizer.step, times=10)
        print(f"| {name}, {'fused' if fused else 'not fused'}, {count:,} | {took:.4f} |")


def recompute() -> None:
    """The table of a step's time and of what its forward pass keeps."""
    spec = spec_of(layers=8, width=256, length=256)
    model = build_model(spec, vocabulary_size=256, room=ROOM)
    tokens = torch.randint(256, (4, 257))
    print("| activations | kept, MB | seconds a step |\n|---|---|---|")
    for name in ("kept", "computed twice"):
        if name != "kept":
            recompute_activations(model)
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = loss_of(model, tokens)
        loss.backward()
        for parameter in model.parameters():
            kept.pop(parameter.untyped_storage().data_ptr(), None)
        took = seconds(lambda: loss_of(model, tokens).backward(), times=5)
        print(f"| {name} | {sum(kept.values()) / 1e6:.0f} | {took:.2f} |")


def loss(arguments: argparse.Namespace) -> None:
    """The table of held-out losses."""
    ways = [("adamw", None), ("adamw", 1.0), ("muon", 1.0)]
    print("| optimizer | norm cut to | rate | held-out loss | by seed |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rate in arguments.rates:
            for name, norm in ways:
                losses = [
                    _trained(name, norm, rate, arguments.steps, seed, Path(folder))
                    for seed in range(1, arguments.seeds + 1)
                ]
                each = ", ".join(f"{found:.4f}" for found in losses)
                mean = statistics.fmean(losses)
                print(f"| {name} | {norm or 'no'} | {rate:g} | {mean:.4f} | {each} |", flush=True)


def _trained(
    name: str, norm: float | None, rate: float, steps: int, seed: int, folder: Path
) -> float:
    task = Task(seed=seed, peers=2, steps=steps, folder=folder)
    model = task.machine().model
    spec = spec_of(
        layers=4, width=64, length=LENGTH, name=name, learning_rate=rate, weight_decay=0.1
    )
    optimizer = optimizer_for(spec, model)(model.parameters())
    if norm is not None:
        clip_before_steps(optimizer, norm)
    for number in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * task.rate(number) / RATE
        optimizer.zero_grad()
        loss_of(model, task.batch(number)).backward()
        optimizer.step()
    return task.loss(model)


def main() -> None:
    """Measure one of the three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("kernels", "recompute", "loss"))
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-3, 1e-2])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "loss":
        loss(arguments)
    else:
        {"kernels": kernels, "recompute": recompute}[arguments.what]()


if __name__ == "__main__":
    main()
