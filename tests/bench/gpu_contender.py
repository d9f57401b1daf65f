"""One contender of `python3 tests/bench/run.py gpu`, in a process of its own:

    python tests/bench/gpu_contender.py gpt2 ours --device cuda --seconds 20

``ours`` is the trainer's step, of the app's own functions: its attention, its loss, its search for
the micro-batch and whether compiling pays, its precision, its inner steps as ``diloco`` takes
them, and what the loop does around them. What a trainer does beside that isn't in it: reading
data, its counters, and the progress that it reports to the swarm. ``nano`` is `parts/nano.py`,
compiled, with nanoGPT's loop; ``compiled`` and ``eager`` are transformers' model and loss with that
loop.

All have float32 weights, bf16 by autocast, fused AdamW, the gradient cut to a norm of 1, and an
optimizer step every `BATCH` samples of the same random tokens, which come from the machine's
memory. The search for the micro-batch, of steps that aren't compiled, is the app's for all.

The last line that it prints is a JSON object: see `measured`; or ``failure`` says why.

The floating-point operations of a token are 6 N + 12 · layers · width · length, forward and
backward, as nanoGPT and PaLM count them; attention counts in full, although it is causal. N are
the parameters that a token is multiplied by: neither positions, nor an embedding that isn't the
output layer too, nor what pads a vocabulary.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from parts import nano
from parts.nano import NanoSizes

from app.common.errors import UserFacingError
from app.trainer.local_steps.inner import InnerSteps
from app.trainer.model.adapters import trained
from app.trainer.model.attention import attend_causally
from app.trainer.model.loss import loss_of
from app.trainer.model.optimizers import optimizer_for
from app.trainer.model.precision import precision_for
from app.trainer.step.gradient import add_gradient
from app.trainer.step.trying import (
    LossFunction,
    RandomSteps,
    compiled_loss,
    compiling_pays,
    fastest,
)
from app.trainer.step.waiting import LateValues, release_memory, wait_for

BATCH = 64
"""Samples of an optimizer step; also the largest micro-batch."""

TINY_BATCH = 4

MOST_NORM = 1.0

OPTIMIZER = SimpleNamespace(
    name="adamw", learning_rate=3e-4, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8
)
"""The fields that `optimizer_for` reads of a spec; a spec itself needs pydantic."""

GPT2 = NanoSizes(
    vocabulary=50_257,
    length=1024,
    layers=12,
    width=768,
    heads=12,
    key_value_heads=12,
    feed_forward=3072,
)
LLAMA = NanoSizes(
    vocabulary=32_000,
    length=1024,
    layers=24,
    width=1024,
    heads=16,
    key_value_heads=16,
    feed_forward=2816,
)
"""The app's own size "large"."""

TINY = {"length": 32, "layers": 1, "width": 32, "heads": 4, "feed_forward": 64}
"""To try the benchmark itself on a CPU."""


def sizes_of(model: str, *, tiny: bool) -> NanoSizes:
    """How large a model is."""
    if not tiny:
        return {"gpt2": GPT2, "llama": LLAMA}[model]
    return NanoSizes(vocabulary=250, key_value_heads=4 if model == "gpt2" else 2, **TINY)


def published(model: str, sizes: NanoSizes) -> Any:
    """The model of transformers, in float32, in training mode, without dropout."""
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    special = {"bos_token_id": None, "eos_token_id": None}
    if model == "gpt2":
        config: Any = GPT2Config(
            vocab_size=sizes.vocabulary,
            n_positions=sizes.length,
            n_layer=sizes.layers,
            n_embd=sizes.width,
            n_head=sizes.heads,
            n_inner=sizes.feed_forward,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **special,
        )
    else:
        config = LlamaConfig(
            vocab_size=sizes.vocabulary,
            max_position_embeddings=sizes.length,
            num_hidden_layers=sizes.layers,
            hidden_size=sizes.width,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.key_value_heads,
            intermediate_size=sizes.feed_forward,
            **special,
        )
    return AutoModelForCausalLM.from_config(config).train()


def by_hand(model: str, sizes: NanoSizes) -> torch.nn.Module:
    """The same model, written for speed."""
    return nano.Gpt2(sizes) if model == "gpt2" else nano.Llama(sizes)


def own_loss(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """transformers' own, by its labels."""
    inputs = tokens[:, :-1]
    loss: torch.Tensor = model(input_ids=inputs, labels=inputs, use_cache=False).loss
    return loss


def operations_of_a_token(model: str, sizes: NanoSizes) -> int:
    """Floating-point operations, forward and backward; see above."""
    with torch.device("meta"):
        parts = dict(by_hand(model, sizes).named_parameters())
    counted = sum(each.numel() for each in parts.values())
    counted -= (sizes.padded - sizes.vocabulary) * sizes.width  # of the output layer
    counted -= parts["positions.weight" if model == "gpt2" else "tokens.weight"].numel()
    return 6 * counted + 12 * sizes.layers * sizes.width * sizes.length


# --- the contenders


class Ours:
    """The trainer's step."""

    def __init__(self, model: torch.nn.Module, steps: RandomSteps, *, samples: int) -> None:
        """samples: of an optimizer step."""
        attend_causally(model, sequence_length=steps.sequence_length)
        self._steps, self.samples = steps, samples
        self._autocast = partial(steps.precision.context, steps.device)
        spec: Any = SimpleNamespace(training=SimpleNamespace(optimizer=OPTIMIZER))
        parameters = trained(model)
        self._inner = InnerSteps(
            parameters,
            optimizer=optimizer_for(spec, model)(parameters),
            schedule=None,
            batch_size=samples,
            max_norm=MOST_NORM,
            needs_scaler=steps.precision.needs_scaler,
        )
        self._losses = LateValues(steps.device)
        self._loss: LossFunction = partial(loss_of, model)
        self.loss = float("nan")
        self.is_compiled = False

    def tune(self) -> int:
        """The micro-batch. As `app.trainer.tuning` does it on a GPU, and here on a CPU too."""
        plain, steps = self._loss, self._steps
        size = fastest(partial(steps.seconds, plain), most=self.samples)
        release_memory(steps.device)
        if compiling_pays(steps, plain, size):
            self._loss = compiled_loss(steps, plain, size) or plain
        self.is_compiled = self._loss is not plain
        self._inner.forget()
        return size

    def learn(self, tokens: torch.Tensor) -> None:
        """A micro-batch, as the loop learns it."""
        added = add_gradient(
            tokens.to(self._steps.device, non_blocking=True),
            loss_of=self._loss,
            autocast=self._autocast,
            backward=self._inner.backward,
            losses=self._losses,
        )
        if added:
            self._inner.count(len(tokens))
            self._note()

    def _note(self) -> None:
        for loss in self._losses.take():
            self.loss = loss

    def finish(self) -> None:
        """Read what is late."""
        self._losses.finish()
        self._note()

    def forget(self) -> None:
        """Give up the gradient."""
        self._inner.forget()


class Others:
    """A model and its loss, with nanoGPT's loop."""

    def __init__(
        self,
        model: torch.nn.Module,
        loss: LossFunction,
        steps: RandomSteps,
        *,
        samples: int,
        compiles: bool,
    ) -> None:
        """samples: of an optimizer step."""
        torch.set_float32_matmul_precision("high")  # as nanoGPT allows TF32
        self._model, self._loss, self._steps = model, loss, steps
        self.samples, self.is_compiled = samples, compiles
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=OPTIMIZER.learning_rate,
            weight_decay=OPTIMIZER.weight_decay,
            betas=OPTIMIZER.betas,
            eps=OPTIMIZER.eps,
            fused=True,
        )
        self._gathered = 0
        self._last = torch.tensor(float("nan"))

    def tune(self) -> int:
        """The micro-batch: by the same search as ours, and then compiled for this size."""
        size = fastest(partial(self._steps.seconds, self._loss), most=self.samples)
        release_memory(self._steps.device)
        if self.is_compiled:
            self._loss = torch.compile(self._loss)
        self.forget()
        return size

    def learn(self, tokens: torch.Tensor) -> None:
        """A micro-batch."""
        tokens = tokens.to(self._steps.device, non_blocking=True)
        with self._steps.precision.context(self._steps.device):
            loss = self._loss(tokens)
            weighted = loss * (len(tokens) / self.samples)
        weighted.backward()
        self._last = loss.detach()
        self._gathered += len(tokens)
        if self._gathered >= self.samples:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), MOST_NORM)
            self._optimizer.step()
            self.forget()

    @property
    def loss(self) -> float:
        """The last one."""
        return float(self._last)

    def finish(self) -> None:
        """Nothing is late."""

    def forget(self) -> None:
        """Give up the gradient."""
        self._optimizer.zero_grad(set_to_none=True)
        self._gathered = 0


def contender(
    name: str, model: str, sizes: NanoSizes, steps: RandomSteps, *, samples: int
) -> Ours | Others:
    """One of four. samples: of an optimizer step."""
    with steps.device:
        made = by_hand(model, sizes) if name == "nano" else published(model, sizes)
    if name == "ours":
        return Ours(made, steps, samples=samples)
    loss = made if name == "nano" else partial(own_loss, made)
    return Others(made, loss, steps, samples=samples, compiles=name != "eager")


# --- measuring


def drawn(steps: RandomSteps, samples: int) -> torch.Tensor:
    """The same random tokens for all, in the machine's memory, where a trainer draws its own."""
    generator = torch.Generator().manual_seed(0)
    shape = (samples, steps.sequence_length + 1)
    tokens = torch.randint(steps.vocabulary, shape, generator=generator)
    return tokens.pin_memory() if steps.device.type == "cuda" else tokens


def seconds_of(
    of: Ours | Others, micro_batches: Sequence[torch.Tensor], steps: RandomSteps, *, count: int
) -> float:
    """How long so many optimizer steps take, each of all micro-batches."""
    wait_for(steps.device)
    began = time.perf_counter()
    for _step in range(count):
        for each in micro_batches:
            of.learn(each)
    wait_for(steps.device)
    return time.perf_counter() - began


def warm(of: Ours | Others, steps: RandomSteps) -> tuple[Sequence[torch.Tensor], float]:
    """Micro-batches of the size that is fastest, and how long a step with them takes when all is
    warm."""
    tokens, size = drawn(steps, of.samples), of.tune()
    while True:
        micro_batches = tokens.split(size)
        try:
            seconds_of(of, micro_batches, steps, count=2)  # the optimizer takes its memory
            return micro_batches, seconds_of(of, micro_batches, steps, count=1)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        of.forget()
        release_memory(steps.device)
        size //= 2


def measured(wanted: argparse.Namespace) -> dict[str, Any]:
    """Figures of a contender."""
    device = torch.device(wanted.device)
    sizes = sizes_of(wanted.model, tiny=wanted.tiny)
    steps = RandomSteps(
        device=device,
        precision=precision_for(device, "bf16"),
        vocabulary=sizes.vocabulary,
        sequence_length=sizes.length,
    )
    samples, on_cuda = TINY_BATCH if wanted.tiny else BATCH, device.type == "cuda"
    of = contender(wanted.contender, wanted.model, sizes, steps, samples=samples)
    wait_for(device)
    built = time.monotonic()
    micro_batches, a_step = warm(of, steps)
    warmed = time.monotonic()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = min(wanted.seconds, max(wanted.seconds / 4, wanted.until - warmed))
    count, taken = 0, 0.0
    while taken < 0.9 * seconds:  # again, only where a step took longer before
        more = max(1, round((seconds - taken) / a_step))
        taken += seconds_of(of, micro_batches, steps, count=more)
        count += more
        a_step = taken / count
    of.finish()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "micro_batch": len(micro_batches[0]),
        "tokens_a_second": count * samples * sizes.length / taken,
        "operations_a_token": operations_of_a_token(wanted.model, sizes),
        "memory": torch.cuda.max_memory_allocated(device) if on_cuda else most,
        "warm_up_seconds": warmed - built,
        "seconds": taken,
        "compiled": of.is_compiled,
        "loss": of.loss,
        "card": torch.cuda.get_device_name(device) if on_cuda else "",
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


def main() -> None:
    """Measure, and print what came out or went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=("gpt2", "llama"))
    parser.add_argument("contender", choices=("nano", "ours", "compiled", "eager"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0, help="of steps that are timed")
    parser.add_argument(
        "--until", type=float, default=float("inf"), help="when to end, by the monotonic clock"
    )
    wanted = parser.parse_args()
    try:
        found = measured(wanted)
    except torch.OutOfMemoryError:
        found = {"failure": "out of memory"}
    except UserFacingError as error:
        found = {"failure": error.text}
    except Exception as error:  # noqa: BLE001  the table says what it was
        found = {"failure": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
        sys.excepthook(*sys.exc_info())
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # compilers' helpers may hold up an ordinary end


if __name__ == "__main__":
    main()
