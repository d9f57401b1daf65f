"""The trainer's overhead."""

import statistics
import subprocess
import sys

from measuring import HERE, row

KINDS = ("torch", "tuned", "compiled", "hivemind", "trainer")


def samples_per_second(kind: str) -> float:
    """One run of a training loop; see ``training_loops.py``."""
    output = subprocess.run(
        [sys.executable, str(HERE / "training_loops.py"), kind],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # as the app starts its trainer
    ).stdout
    return float(output.splitlines()[-1])


def trainer() -> None:
    """Samples per second of the trainer against bare loops, in turn."""
    runs = [{kind: samples_per_second(kind) for kind in KINDS} for _ in range(3)]
    rates = {kind: statistics.median(run[kind] for run in runs) for kind in KINDS}
    to_torch = statistics.median(run["trainer"] / run["torch"] for run in runs)
    to_tuned = statistics.median(
        run["trainer"] / max(run["tuned"], run["compiled"]) for run in runs
    )
    to_hivemind = statistics.median(run["trainer"] / run["hivemind"] for run in runs)
    row("bare PyTorch loop", f"{rates['torch']:.1f} samples/s")
    for kind in ("tuned", "compiled"):
        row(f"PyTorch loop, {kind}", f"{rates[kind]:.1f} samples/s")
    row("bare hivemind.Optimizer script, alone", f"{rates['hivemind']:.1f} samples/s")
    row(
        "this app's trainer, alone in its swarm",
        f"{rates['trainer']:.1f} samples/s",
        f"{to_tuned:.3f} × the faster tuned loop (≥ 0.98), {to_torch:.3f} × the bare one,"
        f" {to_hivemind:.3f} × hivemind (≥ 1.0)",
    )
