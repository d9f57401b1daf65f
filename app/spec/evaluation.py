"""The part of a spec that says how the swarm measures what it learns."""

from typing import Annotated

from pydantic import Field, field_validator

from app.common.i18n import _
from app.spec.part import SpecPart
from app.spec.slots import UNPRINTABLE

MOST_PROMPTS = 8

Prompt = Annotated[str, Field(min_length=1, max_length=200)]


class EvaluationSpec(SpecPart):
    """The swarm's weights predict text that nobody trains on, and go on from a few prompts.

    Each machine does so at the end of epochs, and spends a small share of its time on it at most,
    however short the epochs are.
    """

    every_epochs: int = Field(1, ge=0, le=10**6)
    """Epochs from one evaluation to the next, at least; 0: never, and no text is held out."""

    seconds: float = Field(2.0, gt=0, le=60, allow_inf_nan=False)
    """What one evaluation takes of a machine, the samples included."""

    share: float = Field(0.02, gt=0, le=0.5)
    """Of the text, that nobody trains on. Which text that is follows from the text alone, so all
    peers agree. Not used where ``dataset_info.held_out`` names a source of its own."""

    prompts: tuple[Prompt, ...] = Field(
        ("The", "Once upon a time", "def "), max_length=MOST_PROMPTS
    )
    """After each of them, the model writes a sample at each evaluation."""

    @field_validator("prompts")
    @classmethod
    def _are_lines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(UNPRINTABLE.search(prompt) for prompt in value):
            raise ValueError(_("a prompt is one line of printable text"))
        return value

    @property
    def is_on(self) -> bool:
        """There are evaluations."""
        return self.every_epochs > 0
