"""Trainers of a large model on hosts of their own, whose upload is slow."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.parts.bare_trainer import BareTrainer, comes_true
from tests.bench.parts.schemes import AVERAGING, SCHEMES, training_of
from tests.support.network.networks import internet, why_not
from tests.support.processes.apps import tiny_spec

HEAD = (
    "| peers | scheme | rounds | a round takes | MB sent a round | kB sent a step | fewer |"
    " computing | least |\n|---|---|---|---|---|---|---|---|---|\n"
)

MODEL = {
    "model_type": "gpt2",
    "n_layer": 17,
    "n_head": 12,
    "n_embd": 768,
    "n_positions": 16,
    **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
}
"""121 million parameters with the vocabulary of bytes."""

SEQUENCE = 16
"""Tokens of a sample: two cores take some seconds for a step of few tokens, as a GPU does for one
of many."""

PATIENCE = 3600.0
"""Seconds for some rounds."""


def spec_of(scheme: str, peers: int) -> dict[str, Any]:
    """A spec whose steps are of one sample on each machine."""
    params = training_of(
        scheme,
        peers=peers,
        local_batch=1,
        micro_batch_size=1,
        sequence_length=SEQUENCE,
        optimizer={"name": "adamw", "learning_rate": 1e-5},  # steps of few samples diverge soon
        averaging={"compression": "float16"},
    )
    return tiny_spec(run_id="line", local=False, model_config=MODEL, training_params=params)


class Window:
    """What a trainer did since a moment."""

    def __init__(self, trainer: BareTrainer, peers: int) -> None:
        self._trainer, self._peers = trainer, peers
        self._began = self._now()
        self._rounds = len(trainer.rounds_of(peers))

    def _now(self) -> tuple[float, float, float, float]:
        names = ("training_seconds", "waiting_seconds", "samples_computed")
        return float(self._trainer.sent()), *map(self._trainer.worked, names)

    @property
    def rounds(self) -> int:
        """Whole ones."""
        return len(self._trainer.rounds_of(self._peers)) - self._rounds

    def found(self) -> dict[str, float]:
        """The figures."""
        sent, seconds, waited, samples = (
            after - before for before, after in zip(self._began, self._now(), strict=True)
        )
        last = self._trainer.rounds_of(self._peers)[-self.rounds :]
        return {
            "sent": sent,
            "computing": 1 - waited / seconds,
            "steps": samples,
            "took": sum(each["seconds"] for each in last) / len(last),
        }


async def measure(peers: int, schemes: list[str], *, rate: str, rounds: int) -> None:
    """Print a row for each scheme; gradient averaging is the baseline of those after it."""
    if reason := why_not():
        sys.exit(reason)
    base: float | None = None
    for scheme in schemes:
        found = await _of(scheme, peers, rate=rate, rounds=rounds)
        count = len(found)
        sent = sum(each["sent"] for each in found) / count
        a_step = sum(each["sent"] / each["steps"] for each in found) / count
        if SCHEMES[scheme][0] == AVERAGING:
            base = a_step
        computing = [each["computing"] for each in found]
        took = sum(each["took"] for each in found) / count
        fewer = "–" if base is None else f"{base / a_step:,.0f}"
        cells = (
            *(peers, scheme, rounds, f"{took:.0f} s", f"{sent / rounds / 1e6:,.1f}"),
            *(f"{a_step / 1e3:,.1f}", fewer, f"{sum(computing) / count:.1%}"),
            f"{min(computing):.1%}",
        )
        sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
        sys.stdout.flush()


async def _of(scheme: str, peers: int, *, rate: str, rounds: int) -> list[dict[str, float]]:
    spec = spec_of(scheme, peers)
    with tempfile.TemporaryDirectory() as name, internet() as net:
        hosts = [net.host(f"h{number}") for number in range(peers)]
        trainers = [BareTrainer(host.name, Path(name), host=host) for host in hosts]
        first, *others = trainers
        try:
            await first.start(spec, [])
            addresses = await first.addresses
            for each in others:
                await each.start(spec, addresses)
            await _rounds(trainers, peers, 1)
            for host in hosts:  # not before: the state of a newcomer is another matter
                net.limit(host, rate, upload_only=True)
            # The round after it may have begun on a fast line.
            await _rounds(trainers, peers, 3)
            windows = [Window(each, peers) for each in trainers]
            await comes_true(
                lambda: min(each.rounds for each in windows) >= rounds, seconds=PATIENCE
            )
            return [each.found() for each in windows]
        finally:
            await asyncio.gather(*(each.kill() for each in trainers))


async def _rounds(trainers: list[BareTrainer], peers: int, count: int) -> None:
    def are_there() -> bool:
        return min(len(each.rounds_of(peers)) for each in trainers) >= count

    if not await comes_true(are_there, seconds=PATIENCE):
        said = {each.name: list(each.rounds.values())[-3:] for each in trainers}
        raise TimeoutError(f"{count} rounds of {peers}: {said}")
