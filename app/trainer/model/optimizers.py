"""The optimizer and the schedule of its learning rate."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from app.spec.schema import SwarmSpec
from app.spec.training import ScheduleSpec


def optimizer_for(spec: SwarmSpec) -> Callable[[Any], torch.optim.Optimizer]:
    """Return what makes the spec's optimizer from parameters or parameter groups."""
    wanted = spec.training.optimizer
    rate, decay = wanted.learning_rate, wanted.weight_decay
    if wanted.name == "sgd":
        return partial(torch.optim.SGD, lr=rate, weight_decay=decay, momentum=wanted.momentum)
    return partial(
        torch.optim.AdamW, lr=rate, weight_decay=decay, betas=wanted.betas, eps=wanted.eps
    )


def scheduler_for(spec: SwarmSpec) -> Callable[[torch.optim.Optimizer], LambdaLR] | None:
    """Return what makes the spec's schedule of one step an epoch, None for a constant rate."""
    schedule = spec.training.schedule
    if schedule.name == "constant" and schedule.warmup_epochs == 0:
        return None
    return partial(LambdaLR, lr_lambda=partial(_share_of_rate, schedule))


def _share_of_rate(schedule: ScheduleSpec, epoch: int) -> float:
    """The factor of the learning rate in an epoch.

    It rises linearly over the warm-up, whose first epoch has a rate above 0, is 1 after it, and
    falls to 0 at ``total_epochs`` where the schedule isn't constant.
    """
    if epoch < schedule.warmup_epochs:
        return (epoch + 1) / (schedule.warmup_epochs + 1)
    if schedule.name == "constant" or schedule.total_epochs is None:
        return 1.0
    length = schedule.total_epochs - schedule.warmup_epochs
    done = min(1.0, (epoch - schedule.warmup_epochs) / length)
    return 1.0 - done if schedule.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
