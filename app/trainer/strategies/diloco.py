"""DiLoCo (arXiv:2311.08105): what each peer learnt is averaged, in 4 to 16 bits a value.

The mean is a gradient for Nesterov momentum on the outer weights.
"""

from collections.abc import Sequence
from functools import partial

import torch

from app.spec.training import DilocoSpec
from app.trainer.local_steps.dense import DenseCodec
from app.trainer.strategies.local_steps import LocalSteps
from app.trainer.strategies.protocols import StrategyPlace
from app.trainer.strategies.round import Recipe, blob_exchange


def diloco(place: StrategyPlace) -> LocalSteps:
    """The strategy ``diloco`` with the spec's options."""
    options = place.spec.training.diloco
    assert options is not None

    recipe = partial(recipe_of, options)
    return LocalSteps(place, recipe=recipe, exchange=blob_exchange(place))


def recipe_of(options: DilocoSpec, shapes: Sequence[torch.Size]) -> Recipe:
    """For parameters of these shapes."""
    codec = DenseCodec(shapes, bits=options.bits)
    return Recipe(codec=codec, residual=None, outer_momentum=options.outer_momentum)
