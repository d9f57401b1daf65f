"""A state as bytes: which tensor lies where, and how precise it travels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tensor lies in the bytes of a state."""

    begin: int
    """Offset of its first byte."""

    shape: torch.Size

    dtype: torch.dtype
    """On the wire."""

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return self.begin + self.shape.numel() * self.dtype.itemsize

    def view(self, content: bytearray, *, offset: int = 0) -> torch.Tensor:
        """A tensor that shares the memory of ``content``, in which it begins at ``offset``."""
        count = self.shape.numel()
        if not count:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.frombuffer(content, dtype=self.dtype, count=count, offset=offset)
        return flat.reshape(self.shape)


@dataclass(frozen=True, kw_only=True)
class StateLayout:
    """How the tensors of a state follow each other; the same on all peers of a run.

    Parameters travel as float32, and so does what has a single value. The optimizer's statistics
    travel as bfloat16: it has the range of float32, which Adam's second moments need, and half
    its size. Its error of 0.4 % is far below the noise of a gradient. Where all peers must have the
    same bits, they travel as float32 too.
    """

    places: tuple[Place, ...]
    """In the order of the tensors."""

    parameters: int
    """How many of the tensors are parameters; they come first."""

    exact: bool = False
    """All peers of an epoch have the same bits, and nothing is rounded."""

    @classmethod
    def of(
        cls, tensors: Sequence[torch.Tensor], *, parameters: int, exact: bool = False
    ) -> "StateLayout":
        """The layout of such tensors. parameters: how many of them are parameters."""
        places: list[Place] = []
        for index, tensor in enumerate(tensors):
            is_precise = exact or index < parameters or tensor.numel() == 1
            dtype = torch.float32 if is_precise else torch.bfloat16
            begin = places[-1].end if places else 0
            places.append(Place(begin=begin, shape=tensor.shape, dtype=dtype))
        return cls(places=tuple(places), parameters=parameters, exact=exact)

    @property
    def size(self) -> int:
        """Bytes of a state."""
        return self.places[-1].end if self.places else 0

    @property
    def parameters_end(self) -> int:
        """Offset after the last byte of the parameters."""
        return self.places[self.parameters - 1].end if self.parameters else 0

    @cached_property
    def digest(self) -> str:
        """Two peers that have the same may exchange states."""
        said = ";".join(f"{list(each.shape)}{each.dtype}" for each in self.places)
        return hashlib.sha256(f"{self.parameters};{said}".encode()).hexdigest()[:32]

    @torch.no_grad()
    def pack(self, tensors: Sequence[torch.Tensor]) -> bytearray:
        """The bytes of tensors, which are copied."""
        content = bytearray(self.size)
        for place, view in zip(tensors, self.unpack(content), strict=True):
            view.copy_(place)
        return content

    def unpack(self, content: bytearray) -> list[torch.Tensor]:
        """Tensors of the wire's dtypes that share the memory of ``content``."""
        return [place.view(content, offset=place.begin) for place in self.places]
