"""Trainer processes that train adapters beside weights of a hub, on the loopback."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from app import protocol
from app.training.supervisor import TrainerError
from tests.support.network.model_hub import ModelHub, running_hub
from tests.support.processes.apps import tiny_spec, training
from tests.support.processes.workers import Worker
from tests.support.training.published import on_hub, published
from tests.support.training.specs import LLAMA

pytestmark = [pytest.mark.e2e]

OF_ALL, OF_ADAPTERS = 34_976, 4096
"""Parameters."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    with running_hub() as running:
        running.repositories["us/model"] = published()
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def spec_of(strategy: str) -> dict[str, Any]:
    options = {"strategy": strategy, "adapters": {"rank": 4}}
    params = training(**options, target_batch_size=2048)
    return tiny_spec(training_params=params) | {"model_config": LLAMA, "pretrained": on_hub()}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["gradient-averaging", "diloco", "sparseloco"])
async def test_peers_average_adapters_alone_and_one_with_other_weights_stays_out(
    hub: ModelHub, hire: Callable[[], Worker], strategy: str
) -> None:
    first, second, third = hire(), hire(), hire()
    spec = spec_of(strategy)
    await first.start(spec=spec)
    (ready,) = first.all(protocol.Ready)
    await second.start(spec=spec, initial_peers=ready.addresses)
    await asyncio.gather(
        *(each.until(lambda each=each: each.rounds_with(2) >= 2) for each in (first, second))
    )
    hub.repositories["us/model"] = published(seed=8)  # a hub that lies about a commit
    with pytest.raises(TrainerError):
        await third.start(spec=spec, initial_peers=ready.addresses)
    (problem,) = third.all(protocol.TrainerProblem)
    assert problem.field == "pretrained"
    assert problem.message.startswith("this machine begins with other weights than 2 of 2")
    assert third.all(protocol.Progress) == []
    work = first.all(protocol.Work)[-1]
    assert 0 < work.bytes_sent_in_rounds < work.epochs * 4 * OF_ALL
    learnt = torch.load(max(first.checkpoints().values()), weights_only=True)["model"]
    assert all("lora_" in name for name in learnt)
    assert sum(each.numel() for each in learnt.values()) == OF_ADAPTERS


async def test_a_download_is_told_and_a_stop_ends_it_at_once(
    hub: ModelHub, hire: Callable[[], Worker]
) -> None:
    held = hub.held["model.safetensors"] = threading.Event()
    worker = hire()
    starting = asyncio.create_task(worker.start(spec=spec_of("gradient-averaging")))
    await worker.until(lambda: bool(worker.all(protocol.FileDownload)))
    told = worker.all(protocol.FileDownload)[-1]
    assert (told.what, told.size) == ("weights", sum(map(len, published().values())))
    outcome = await worker.trainer.stop()
    assert outcome.reason is protocol.EndReason.STOPPED
    assert not held.is_set()
    held.set()
    await starting
