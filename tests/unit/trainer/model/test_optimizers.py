"""The optimizer and the schedule that a spec asks for."""

from typing import Any

import pytest
import torch

from app.trainer.model.optimizers import optimizer_for, scheduler_for
from tests.support.training.models import spec_of


def test_the_spec_s_optimizer_is_made() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    adam = optimizer_for(
        spec_of(training={"optimizer": {"learning_rate": 0.5, "weight_decay": 0.1, "eps": 1e-6}})
    )(parameters)
    assert isinstance(adam, torch.optim.AdamW)
    assert adam.defaults | {"lr": 0.5, "weight_decay": 0.1, "eps": 1e-6} == adam.defaults
    assert adam.defaults["betas"] == (0.9, 0.95)
    sgd = optimizer_for(spec_of(training={"optimizer": {"name": "sgd", "momentum": 0.9}}))(
        [{"params": parameters}]
    )
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.9


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant", "warmup_epochs": 3}, [0.25, 0.5, 0.75, 1, 1, 1, 1]),
        ({"name": "linear", "total_epochs": 4}, [1, 0.75, 0.5, 0.25, 0, 0]),
        ({"name": "linear", "warmup_epochs": 1, "total_epochs": 3}, [0.5, 1, 0.5, 0, 0]),
        ({"name": "cosine", "total_epochs": 2}, [1, 0.5, 0, 0]),
    ],
)
def test_the_rate_follows_the_schedule(schedule: dict[str, Any], expected: list[float]) -> None:
    spec = spec_of(
        training={"schedule": schedule, "optimizer": {"name": "sgd", "learning_rate": 2.0}}
    )
    optimizer = optimizer_for(spec)([torch.nn.Parameter(torch.zeros(2))])
    make = scheduler_for(spec)
    assert make is not None
    scheduler, rates = make(optimizer), []
    for _ in expected:
        rates.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected)


def test_a_constant_rate_needs_no_schedule() -> None:
    assert scheduler_for(spec_of()) is None
