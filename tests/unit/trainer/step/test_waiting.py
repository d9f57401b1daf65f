"""What a GPU computes is read some values later, in order; elsewhere at once."""

from typing import Any

import torch

from app.trainer.step.waiting import MOST_AHEAD, LateValues

CPU = torch.device("cpu")


def test_on_a_cpu_all_is_known_at_once() -> None:
    values = LateValues(CPU)
    values.add(torch.tensor(1.5))
    assert values.take() == [1.5]
    assert values.take() == []


def test_on_a_gpu_only_what_is_older_is_waited_for(late_device: list[Any]) -> None:
    values = LateValues(CPU)
    for number in range(MOST_AHEAD + 1):
        assert late_device == []
        values.add(torch.tensor(float(number)))
    assert len(late_device) == 1
    assert values.take() == [0.0]
    values.finish()
    assert values.take() == [1.0, 2.0]
