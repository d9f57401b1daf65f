"""The optimizer and the schedule that a spec asks for."""

import copy
from typing import Any

import pytest
import torch

from app.trainer.model.optimizers import (
    clip_before_steps,
    optimizer_for,
    own_settings,
    scheduler_for,
)
from tests.support.training.models import spec_of


class Small(torch.nn.Module):
    """One parameter of each kind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(5, 8)
        self.middle = torch.nn.Linear(8, 4)
        self.output = torch.nn.Linear(4, 5, bias=False)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.output

    def learn(self, optimizer: torch.optim.Optimizer) -> float:
        tokens = torch.arange(5)
        loss = torch.nn.functional.cross_entropy(
            self.output(self.middle(self.words(tokens)).relu()), tokens.roll(1)
        )
        self.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())


def test_the_spec_s_optimizer_is_made() -> None:
    model = Small()
    adam = optimizer_for(
        spec_of(training={"optimizer": {"learning_rate": 0.5, "weight_decay": 0.1, "eps": 1e-6}}),
        model,
    )(model.parameters())
    assert isinstance(adam, torch.optim.AdamW)
    assert adam.defaults | {"lr": 0.5, "weight_decay": 0.1, "eps": 1e-6} == adam.defaults
    assert adam.defaults["betas"] == (0.9, 0.95)
    assert adam.defaults["fused"]
    sgd = optimizer_for(spec_of(training={"optimizer": {"name": "sgd", "momentum": 0.9}}), model)(
        [{"params": list(model.parameters())}]
    )
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.9


def test_fused_kernels_learn_what_the_others_learn() -> None:
    ways = [Small() for _ in range(2)]
    for model, fused in zip(ways, (True, False), strict=True):
        optimizer = optimizer_for(spec_of(), model, fused=fused)(model.parameters())
        for _ in range(5):
            model.learn(optimizer)
    for one, other in zip(*(model.parameters() for model in ways), strict=True):
        torch.testing.assert_close(one, other)


def test_state_without_fused_kernels_goes_on_with_them() -> None:
    model = Small()
    before = optimizer_for(spec_of(), model, fused=False)(model.parameters())
    model.learn(before)
    after = optimizer_for(spec_of(), model)(model.parameters())
    after.load_state_dict(before.state_dict())
    model.learn(after)
    assert {float(state["step"]) for state in after.state.values()} == {2.0}


def test_a_loaded_state_changes_no_setting() -> None:
    model = Small()
    before = optimizer_for(spec_of(), model)(model.parameters())
    model.learn(before)
    lower = {"learning_rate": 1e-5, "weight_decay": 0.3}
    after = optimizer_for(spec_of(training={"optimizer": lower}), model)(model.parameters())
    with own_settings(after):
        after.load_state_dict(before.state_dict())
    (group,) = after.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-5, 0.3)
    assert {float(state["step"]) for state in after.state.values()} == {1.0}


# --- Muon


def muon(model: Small) -> torch.optim.Optimizer:
    optimizer = {"name": "muon", "learning_rate": 0.05, "weight_decay": 0.1}
    return optimizer_for(spec_of(training={"optimizer": optimizer}), model)(model.parameters())


def test_muon_takes_the_matrices_within_and_nothing_else() -> None:
    model = Small()
    optimizer = muon(model)
    losses = [model.learn(optimizer) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    kinds = {name: set(optimizer.state[parameter]) for name, parameter in model.named_parameters()}
    adam = {"step", "exp_avg", "exp_avg_sq"}
    assert kinds == {
        "words.weight": adam,
        "middle.weight": {"momentum_buffer"},
        "middle.bias": adam,
        "output.weight": adam,
    }
    assert len(optimizer.param_groups) == 1  # hivemind wants as many as it gave


def test_muon_is_pytorch_s_own() -> None:
    one, other = Small(), Small()
    optimizer = muon(one)
    reference = (
        torch.optim.Muon(
            [other.middle.weight], lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [other.words.weight, other.middle.bias, other.output.weight],
            lr=0.05,
            weight_decay=0.1,
            betas=(0.9, 0.95),
        ),
    )
    for _ in range(3):
        one.learn(optimizer)
        other.learn(reference[0])
        reference[1].step()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_muon_goes_on_from_its_state_and_follows_the_schedule() -> None:
    one, other = Small(), Small()
    first, second = muon(one), muon(other)
    one.learn(first)
    other.load_state_dict(one.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    one.learn(first)
    other.learn(second)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    first.param_groups[0]["lr"] = 0.0
    before = copy.deepcopy(one.state_dict())
    one.learn(first)
    assert all(torch.equal(one.state_dict()[name], kept) for name, kept in before.items())


# --- the gradient's norm


@pytest.mark.parametrize(("most", "moved"), [(0.5, 0.5), (10.0, 4.0)])
def test_gradient_is_cut_before_a_step(most: float, moved: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    clip_before_steps(optimizer, most)
    weight.grad = torch.full((4,), 2.0)
    optimizer.step()
    assert float(weight.detach().norm()) == pytest.approx(moved, rel=1e-4)


# --- the schedule


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
    model = Small()
    optimizer = optimizer_for(spec, model)(model.parameters())
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
