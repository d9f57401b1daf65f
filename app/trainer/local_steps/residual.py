"""What a machine learnt and has not sent: error feedback."""

from collections.abc import Sequence
from typing import Any

import torch

from app.trainer.local_steps.codec import plain


class Residual:
    """Gathers updates until they are sent, and what the codec left of them.

    One round is ``add``, and ``take`` unless it left us out. After one that failed, the caller
    loads the `state_dict` of before. Who takes over a newer state clears it: that state may hold
    any part of it, by a round whose end this machine has not seen.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], *, decay: float = 0.95) -> None:
        """shapes: of the tensors of an update. decay: what remains of the residual each round, from
        0 to 1."""
        self._shapes = [torch.Size(shape) for shape in shapes]
        self._decay = decay
        self._kept = [torch.zeros(shape) for shape in self._shapes]

    def add(self, delta: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Add an update, and give all that is to be sent: the residual's own tensors (float32, on
        the CPU), which the caller only reads.

        Raises `ValueError`, and changes nothing, for other shapes and for values that
        `app.trainer.local_steps.codec.Codec.encode` refuses.
        """
        for kept, new in zip(self._kept, plain(delta, self._shapes), strict=True):
            kept.mul_(self._decay).add_(new)
        return list(self._kept)

    def take(self, decoded: Sequence[torch.Tensor]) -> None:
        """Subtract what was sent, as its receivers read it."""
        for kept, sent in zip(self._kept, decoded, strict=True):
            kept.sub_(sent)

    def clear(self) -> None:
        """Keep nothing."""
        for kept in self._kept:
            kept.zero_()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; a copy."""
        return {"residual": [kept.clone() for kept in self._kept]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises `ValueError` for one of another model."""
        loaded = plain(state["residual"], self._shapes)
        for kept, saved in zip(self._kept, loaded, strict=True):
            kept.copy_(saved)
