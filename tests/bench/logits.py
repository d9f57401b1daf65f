"""A step with a large vocabulary: logits of all tokens at once, against those of a few at a time.

    python tests/bench/logits.py [--vocabulary 50257] [--samples 8]

Each way runs in a process of its own, with one thread: seconds of the processor for a step (the
median of `STEPS`, after one that isn't counted), and the most memory that the process took.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.measuring import row  # noqa: E402

STEPS = 3
LENGTH = 256
MODEL = {"model_type": "llama", "num_hidden_layers": 4, "hidden_size": 384}
HEADS = {"num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 1024}


def one(way: str, vocabulary: int, samples: int) -> None:
    """Print seconds of a step and bytes of memory."""
    import torch

    from app.spec import schema
    from app.trainer.model import loss
    from app.trainer.model.build import build_model
    from app.trainer.room import Room

    torch.set_num_threads(1)
    if way == "whole":
        loss.LARGE_VOCABULARY = 2**62
    spec = schema.parse(
        {
            "run_id": "bench",
            "model_config": MODEL | HEADS,
            "training_params": {"target_batch_size": 64, "sequence_length": LENGTH},
            "dataset_info": {"source": "builtin"},
        }
    )
    model = build_model(spec, vocabulary_size=vocabulary, room=Room(device=torch.device("cpu")))
    assert loss.can_chunk(model) == (way == "chunks")
    seconds = []
    for _step in range(1 + STEPS):
        tokens = torch.randint(vocabulary, (samples, LENGTH + 1))
        began = time.process_time()
        loss.loss_of(model, tokens).backward()
        seconds.append(time.process_time() - began)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(f"{statistics.median(seconds[1:])} {most}\n")


def main() -> None:
    """Run both ways, in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocabulary", type=int, default=50_257)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--way", choices=["whole", "chunks"])
    wanted = parser.parse_args()
    if wanted.way:
        one(wanted.way, wanted.vocabulary, wanted.samples)
        return
    found = {}
    for way in ("whole", "chunks"):
        options = ["--vocabulary", str(wanted.vocabulary), "--samples", str(wanted.samples)]
        command = [sys.executable, __file__, "--way", way, *options]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds, most = map(float, output.split())
        found[way] = seconds, most
        row(f"logits: {way}", f"{seconds:.2f} s a step, {most / 2**20:,.0f} MiB")
    ratios = [after / before for before, after in zip(found["whole"], found["chunks"], strict=True)]
    row("in chunks", "", f"{ratios[0]:.2f} × the time, {ratios[1]:.2f} × the memory")


if __name__ == "__main__":
    main()
