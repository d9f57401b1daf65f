"""Error feedback: nothing that was learnt is lost, sent twice, or made of NaN."""

import numpy as np
import pytest
import torch

from app.trainer.local_steps.residual import Residual
from app.trainer.local_steps.sparse import SparseCodec

SHAPES = [(64, 64), (10,)]


def update(seed: int) -> list[torch.Tensor]:
    generator = np.random.default_rng(seed)
    return [torch.from_numpy(generator.normal(size=shape)).float() for shape in SHAPES]


def test_what_was_sent_and_what_is_left_are_all_that_was_learnt() -> None:
    codec, residual = SparseCodec(SHAPES, keep=64), Residual(SHAPES, decay=1.0)
    learnt, received = [torch.zeros(shape) for shape in SHAPES], []
    for seed in range(10):
        learnt = [total + new for total, new in zip(learnt, update(seed), strict=True)]
        decoded = codec.encode(residual.add(update(seed))).decoded
        residual.take(decoded)
        received.append(decoded)
    left = residual.state_dict()["residual"]
    for place in range(len(SHAPES)):
        torch.testing.assert_close(
            sum(each[place] for each in received) + left[place],
            learnt[place],
            rtol=1e-5,
            atol=1e-5,
        )


def test_what_stays_fades() -> None:
    residual = Residual([(1,)], decay=0.5)
    residual.add([torch.tensor([8.0])])
    assert residual.add([torch.tensor([1.0])])[0].item() == 5.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_changes_nothing(value: float) -> None:
    residual = Residual(SHAPES)
    residual.add(update(1))
    before = residual.state_dict()["residual"]
    broken = update(2)
    broken[1][0] = value
    with pytest.raises(ValueError, match="NaN"):
        residual.add(broken)
    after = residual.state_dict()["residual"]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_checkpoint_restores_it() -> None:
    residual, restored = Residual(SHAPES), Residual(SHAPES)
    residual.add(update(1))
    saved = residual.state_dict()
    residual.add(update(2))
    restored.load_state_dict(saved)
    for one, other in zip(residual.add(update(3)), restored.add(update(2)), strict=True):
        assert not torch.equal(one, other)
    first = restored.state_dict()["residual"]
    restored.load_state_dict(restored.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(first, restored.state_dict()["residual"], strict=True)
    )


def test_a_checkpoint_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        Residual(SHAPES).load_state_dict(Residual([(3,)]).state_dict())
