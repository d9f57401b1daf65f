"""The outer optimizer: Nesterov's SGD by the book, and the model that follows it."""

import copy

import numpy as np
import pytest
import torch

from app.trainer.local_steps.outer import outer_optimizer, set_model, step


def values(seed: int, count: int = 50) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=count)).float()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_moves_as_pytorchs_own_does(momentum: float) -> None:
    ours, theirs = torch.nn.Parameter(values(0)), torch.nn.Parameter(values(0))
    outer = outer_optimizer([ours], rate=0.7, momentum=momentum)
    own = torch.optim.SGD([theirs], lr=0.7, momentum=momentum, nesterov=momentum > 0)
    for seed in range(1, 6):
        step(outer, [values(seed)])
        theirs.grad = values(seed)
        own.step()
        torch.testing.assert_close(ours, theirs)
    assert ours.grad is None


def test_the_mean_stays_as_it_was() -> None:
    parameter, mean = torch.nn.Parameter(values(0)), values(1)
    optimizer = outer_optimizer([parameter], rate=0.7, momentum=0.9)
    for _round in range(2):
        step(optimizer, [mean])
    assert torch.equal(mean, values(1))


def test_its_state_can_be_handed_on() -> None:
    ours, other = torch.nn.Parameter(values(0)), torch.nn.Parameter(values(0))
    first = outer_optimizer([ours], rate=0.7, momentum=0.9)
    step(first, [values(1)])
    other.data.copy_(ours.data)
    second = outer_optimizer([other], rate=0.1, momentum=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # PyTorch shares the tensors
    step(first, [values(2)])
    step(second, [values(2)])
    assert torch.equal(ours, other)


def test_a_mean_of_another_model_is_refused() -> None:
    optimizer = outer_optimizer([torch.nn.Parameter(values(0))], rate=1.0, momentum=0.0)
    with pytest.raises(ValueError, match="argument 2"):
        step(optimizer, [values(1), values(2)])


def test_the_model_keeps_what_it_learnt_meanwhile() -> None:
    model, outer = torch.nn.Parameter(values(0)), values(1)
    drift = torch.full_like(outer, 0.25)
    set_model([model], [outer], [drift])
    torch.testing.assert_close(model.data, outer + 0.25)
    assert torch.equal(outer, values(1))
    half = torch.nn.Parameter(values(0).to(torch.bfloat16))
    set_model([half], [outer], [torch.zeros(50, dtype=torch.bfloat16)])
    assert torch.equal(half.data, outer.to(torch.bfloat16))
