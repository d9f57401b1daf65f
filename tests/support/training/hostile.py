"""A hostile peer, made of plain hivemind: knows an address and the run id, nothing else.

    python tests/support/training/hostile.py nan|weight|record ADDRESS…

nan: averages gradients and parameters that are no numbers. weight: averages an ascending gradient
with a weight of 1e30. record: publishes progress records of epoch 10^6 that live for ten years.
It goes on until it is killed, and prints a line once it begins.
"""

import sys
import time
from functools import partial
from typing import Any

import hivemind
import torch
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.utils.crypto import RSAPrivateKey
from hivemind.utils.timed_storage import get_dht_time
from transformers import GPT2Config, GPT2LMHeadModel

RUN = "tiny"
TEN_YEARS = 10 * 365 * 86_400.0


def model() -> GPT2LMHeadModel:
    """The tiny spec's."""
    torch.set_num_threads(1)
    sizes: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 32, "n_positions": 64}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=256, bos_token_id=None, eos_token_id=None, **sizes)
    )


def average(attack: str, dht: hivemind.DHT) -> None:
    """Take part in every round, with the worst to offer."""
    network = model()
    optimizer = hivemind.Optimizer(
        dht=dht,
        run_id=RUN,
        target_batch_size=4096,
        batch_size_per_step=4,
        params=network.parameters(),
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        matchmaking_time=2.0,
        averaging_timeout=8.0,
    )
    optimizer.tracker.fetched_global_progress_this_epoch.wait()
    optimizer.load_state_from_peers()
    if attack == "weight":
        averager = optimizer.grad_averager
        averager.step = partial(averager.step, weight=1e30)
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    while True:
        tokens = torch.randint(97, 123, (4, 33))
        logits = network(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        (-1e3 * loss).backward()
        if attack == "nan":
            for parameter in network.parameters():
                parameter.grad.fill_(torch.nan)
                parameter.data.fill_(torch.nan)
        optimizer.step()
        optimizer.zero_grad()


def forge(dht: hivemind.DHT) -> None:
    """Publish progress that nobody made."""
    owner = RSASignatureValidator(RSAPrivateKey.process_wide()).local_public_key
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    while True:
        forged = {
            "peer_id": dht.peer_id.to_bytes(),
            "epoch": 10**6,
            "samples_accumulated": 0,
            "samples_per_second": 1e9,
            "time": get_dht_time(),
            "client_mode": False,
        }
        for life in (60.0, TEN_YEARS):
            dht.store(f"{RUN}_progress", forged, get_dht_time() + life, subkey=owner)
        time.sleep(0.5)


if __name__ == "__main__":
    attack, *addresses = sys.argv[1:]
    swarm = hivemind.DHT(
        initial_peers=addresses, start=True, record_validators=[RSASignatureValidator()]
    )
    if attack == "record":
        forge(swarm)
    else:
        average(attack, swarm)
