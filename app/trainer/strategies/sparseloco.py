"""SparseLoCo (arXiv:2508.15706): only the largest of what each peer learnt travels, in 2 bits each.

What was not sent waits, fading a little each round, until it is large enough.
"""

from collections.abc import Sequence
from functools import partial

import torch

from app.spec.training import SparseLocoSpec
from app.trainer.local_steps.residual import Residual
from app.trainer.local_steps.sparse import SparseCodec
from app.trainer.strategies.local_steps import LocalSteps
from app.trainer.strategies.protocols import StrategyPlace
from app.trainer.strategies.round import Recipe, blob_exchange


def sparseloco(place: StrategyPlace) -> LocalSteps:
    """The strategy ``sparseloco`` with the spec's options."""
    options = place.spec.training.sparseloco
    assert options is not None

    recipe = partial(recipe_of, options)
    return LocalSteps(place, recipe=recipe, exchange=blob_exchange(place))


def recipe_of(options: SparseLocoSpec, shapes: Sequence[torch.Size]) -> Recipe:
    """For parameters of these shapes."""
    return Recipe(
        codec=SparseCodec(shapes, keep=options.keep),
        residual=Residual(shapes, decay=options.decay),
        outer_momentum=0.0,
    )
