"""The device's memory, given back and taken again in the middle of training."""

import copy

import pytest
import torch

from app.trainer.memory import DeviceMemory

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


class Pupil:
    """A model that learns, with gradients that wait for a step."""

    def __init__(self, device: str, model: torch.nn.Module) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.memory = DeviceMemory(self.device, model=self.model, optimizer=self.optimizer)

    def gather(self) -> None:
        self.model(torch.ones(4, 8, device=self.device)).square().mean().backward()

    def step(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=ON_GPU)])
def test_a_pause_changes_nothing_of_what_is_learnt(device: str) -> None:
    model = torch.nn.Linear(8, 8)
    paused, undisturbed = Pupil(device, model), Pupil(device, copy.deepcopy(model))
    for pupil in (paused, undisturbed):
        pupil.gather()
        pupil.step()
        pupil.gather()
    held = list(paused.model.parameters())
    paused.memory.free()
    paused.memory.take_back()
    paused.memory.wait_for_device()
    for pupil in (paused, undisturbed):
        pupil.gather()  # on top of what was gathered before the pause
        pupil.step()
    parameters = list(paused.model.parameters())
    assert all(now is before for now, before in zip(parameters, held, strict=True))
    for mine, other in zip(parameters, undisturbed.model.parameters(), strict=True):
        assert torch.equal(mine, other)


@ON_GPU
def test_a_long_pause_frees_the_memory() -> None:
    pupil = Pupil("cuda:0", torch.nn.Linear(4096, 4096))
    pupil.model(torch.ones(1, 4096, device="cuda:0")).sum().backward()
    pupil.step()
    pupil.model(torch.ones(1, 4096, device="cuda:0")).sum().backward()
    taken = torch.cuda.memory_reserved()
    pupil.memory.free()
    pupil.memory.free()
    assert torch.cuda.memory_reserved() < taken / 10
    pupil.memory.take_back()
    assert all(parameter.is_cuda for parameter in pupil.model.parameters())
