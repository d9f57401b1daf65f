"""What a trainer reports of the swarm's weights: how well they read, and what they write.

Reports of `app.protocol`, as all others: a change of a message here raises its ``VERSION``.
"""

import math
from typing import Annotated

import msgspec

from app.message import Message

MOST_PROMPT_CHARACTERS = 200
MOST_SAMPLE_CHARACTERS = 2000
"""Of a text that the model has written."""


def perplexity_of(loss: float) -> float:
    """Among how many equally likely tokens a model with this loss (nats per token) has to choose;
    infinite past 700 nats, where floats end."""
    return math.exp(loss) if loss < 700 else math.inf


class Evaluated(Message, frozen=True):
    """What the swarm's weights make of text that no trainer trains on."""

    epoch: int
    """That the weights are of."""

    loss: float
    """Mean cross-entropy per token, in nats."""

    bits_per_byte: float
    """The same for each byte of the text, in bits, so that tokenizers compare."""

    tokens: int
    """How many were predicted."""

    seconds: float
    """How long it took."""

    time: float
    """When it ended, in seconds since the epoch."""

    @property
    def perplexity(self) -> float:
        """See `perplexity_of`."""
        return perplexity_of(self.loss)


class SampleGenerated(Message, frozen=True):
    """What the swarm's weights write after one of the run's prompts."""

    epoch: int
    """That the weights are of."""

    prompt: Annotated[str, msgspec.Meta(max_length=MOST_PROMPT_CHARACTERS)]

    text: Annotated[str, msgspec.Meta(max_length=MOST_SAMPLE_CHARACTERS)]
    """What follows the prompt, without it."""

    time: float
    """When it was written, in seconds since the epoch."""
