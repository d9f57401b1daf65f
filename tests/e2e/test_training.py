"""Real apps in one swarm, with each other and with a plain hivemind script."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.processes.apps import PATIENCE, ROOT, StartApp, tiny_spec, training

pytestmark = [pytest.mark.e2e]


PLAIN_SCRIPT = """
import logging, sys, threading
from functools import partial
import hivemind, torch
from transformers import GPT2Config, GPT2LMHeadModel

config = GPT2Config(n_layer=1, n_head=2, n_embd=32, n_positions=64, vocab_size=256,
                    bos_token_id=None, eos_token_id=None)
torch.set_num_threads(1)
model = GPT2LMHeadModel(config)
dht = hivemind.DHT(initial_peers=sys.argv[1:], start=True)
opt = hivemind.Optimizer(
    dht=dht, run_id="tiny", target_batch_size=4096, batch_size_per_step=4,
    params=model.parameters(), optimizer=partial(torch.optim.AdamW, lr=1e-3),
    matchmaking_time=4.0, averaging_timeout=12.0, verbose=True)
averaged, enough = [], threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), enough.set()), daemon=True).start()
class Watch(logging.Handler):
    def emit(self, record):
        if "Averaged gradients with 2 peers" in record.getMessage():
            averaged.append(True)
logging.getLogger("hivemind.optim.optimizer").addHandler(Watch())
opt.tracker.fetched_global_progress_this_epoch.wait()
opt.load_state_from_peers()
for step in range(100000):
    tokens = torch.randint(97, 123, (4, 33))
    logits = model(tokens[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    opt.step()
    opt.zero_grad()
    if len(averaged) >= 2 and enough.is_set():
        break
opt.shutdown()
dht.shutdown()
"""


@pytest.mark.alone
async def test_a_plain_hivemind_script_is_a_peer_like_any_other(
    start_app: StartApp, tmp_path: Path
) -> None:
    # longer than the 3 s that a plain script's requests may take: groups form more surely
    patient = tiny_spec()["training_params"]["averaging"] | {
        "matchmaking_seconds": 4.0,
        "timeout_seconds": 12.0,
    }
    app = await start_app(spec=tiny_spec(training_params=training(averaging=patient)))
    line = await app.trains(epoch=1)
    script = tmp_path / "plain.py"
    script.write_text(PLAIN_SCRIPT)
    with (tmp_path / "plain.log").open("w+") as output:
        plain = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            *line["addresses"],
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
        # on a busy machine a round may reach one side alone: it goes on until both had one
        await app.logs("Averaged gradients with 2 peers")
        await app.wait_for(lambda line: line["peers"] == 2)
        assert plain.stdin is not None
        plain.stdin.close()
        status = await asyncio.wait_for(plain.wait(), PATIENCE)
        output.seek(0)
        said = output.read()
    assert status == 0, said
    assert "Averaged gradients with 2 peers" in said


@pytest.mark.slow
async def test_two_devices_have_a_trainer_each(start_app: StartApp, tmp_path: Path) -> None:
    app = await start_app("--device", "cpu,cpu", spec=tiny_spec())
    line = await app.trains(epoch=2, peers=2)
    identities = app.folder / "identities"
    assert {"trainer.pem", "trainer-1.pem"} <= {path.name for path in identities.iterdir()}
    folders = {path.name for path in (app.folder / "checkpoints" / "tiny").iterdir()}
    assert folders == {"trainer", "trainer-1"}
    assert line["samples_per_second"] > 0
    assert await app.stop() == 0
