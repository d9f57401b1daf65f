"""What a peer keeps of its own when it takes over the swarm's state; without a network."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from app.spec.training import SparseLocoSpec
from app.trainer.local_steps.inner import InnerSteps
from app.trainer.strategies.following import Following
from app.trainer.strategies.local_steps import LocalSteps
from app.trainer.strategies.sparseloco import recipe_of
from app.trainer.work import WorkMeter
from tests.support.training.memory_exchange import MemoryExchange, MemoryHub

SHAPES = [torch.Size((64, 64))]


class _Outer:
    """Outer weights for which a peer has a state, or nobody has."""

    digest = b""

    def __init__(self, epoch: int | None) -> None:
        self._epoch = epoch

    def take_over(self, **_options: bool) -> int | None:
        return self._epoch

    def begin(self) -> None:
        pass

    def enter(self, epoch: int, *, offer: bool) -> None:
        pass


def peer(*, offered: int | None) -> LocalSteps:
    """One in epoch 7, after a restart. offered: the epoch of the state that others have."""
    made = LocalSteps.__new__(LocalSteps)
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    tracker: Any = SimpleNamespace(
        report_local_progress=lambda *_arguments, **_options: None,
        global_epoch=offered or 0,
        callable=frozenset(),
    )
    parts: dict[str, Any] = {
        "_recipe": recipe_of(SparseLocoSpec(), SHAPES),
        "_outer": _Outer(offered),
        "_inner": InnerSteps(
            parameters,
            optimizer=torch.optim.SGD(parameters, lr=0.1),
            schedule=None,
            batch_size=1,
            max_norm=1.0,
            needs_scaler=False,
        ),
        "_tracker": tracker,
        "_following": Following(
            MemoryExchange(MemoryHub(), "us"),
            codec=recipe_of(SparseLocoSpec(), SHAPES).codec,
            farthest=1e9,
            tracker=tracker,
            seconds=60.0,
        ),
        "_work": WorkMeter(),
        "_round": None,
        "epoch": 7,
        "taken_over": 0,
    }
    vars(made).update(parts)
    return made


@pytest.mark.parametrize("offered", [None, 8])
def test_update_that_a_newer_state_may_hold_is_not_sent_again(offered: int | None) -> None:
    restarted = peer(offered=offered)
    residual = restarted._recipe.residual
    assert residual is not None
    residual.add([torch.ones(shape) for shape in SHAPES])  # by a round that ran when it was saved
    restarted._take_over(first=True)
    assert restarted.epoch == (offered or 7)
    assert residual.state_dict()["residual"][0].any() == (offered is None)
