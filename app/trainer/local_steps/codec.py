"""What every codec of updates has in common: tensors become a blob, blobs become their mean.

An update is what a machine learnt since the last exchange, one tensor for each parameter. All
machines must compute the same mean of the same blobs, bit for bit, whatever their processors.
Means are therefore computed on the CPU by multiplications and additions that are separate
operations: PyTorch's ``add(alpha=...)`` fuses them on some processors and not on others.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

LARGEST = 2.0**40
"""The largest magnitude of a value in a blob. No parameter moves so far in a run that is sane, and
sums of such values over a model are far from float32's infinity."""

FINGERPRINT = 8
"""Bytes at the begin of a blob: a hash of its codec's settings and shapes."""


class BlobError(ValueError):
    """A blob isn't what the codec writes. Its message is a short reason."""


@dataclass(frozen=True)
class Encoded:
    """An update that is ready to be sent."""

    blob: bytes

    decoded: list[torch.Tensor]
    """What every receiver reads from the blob: float32 on the CPU, in the codec's shapes."""


class Codec(ABC):
    """Turns updates of fixed shapes into blobs and back. It has no state: threads may share it."""

    @abstractmethod
    def encode(self, tensors: Sequence[torch.Tensor]) -> Encoded:
        """The blob of an update. tensors: of any dtype, on any device, in the codec's shapes.

        Raises `ValueError` for other shapes, and for NaN, infinity and magnitudes above `LARGEST`.
        """

    def check(self, blob: bytes) -> None:
        """Raise `BlobError` unless ``decode`` would succeed. Takes no more memory than the blob and
        some MiB: no length or index in a blob is believed."""
        for _part in self._read(blob):
            pass

    def decode(self, blob: bytes) -> list[torch.Tensor]:
        """The update in a blob: float32 on the CPU, dense. Raises `BlobError`."""
        return self.mean([blob], [1.0])

    @abstractmethod
    def _read(self, blob: bytes) -> Iterator[object]:
        """What a blob says, part by part, each of them checked. Raises `BlobError`."""

    @abstractmethod
    def mean(
        self,
        blobs: Sequence[bytes],
        weights: Sequence[float],
        scales: Sequence[float] | None = None,
    ) -> list[torch.Tensor]:
        """The weighted mean of updates: float32 on the CPU, dense; the same bits on every machine
        for the same blobs in the same order.

        Reads each blob once, and holds one dense update at a time, however many blobs there are.

        weights: at least 0, for instance in samples; a blob of weight 0 doesn't count. scales: what
        each blob's values are multiplied by, from 0 to 1; None for 1.

        Raises `BlobError`, and `ValueError` for weights that say nothing.
        """

    @abstractmethod
    def most_bytes(self) -> int:
        """No blob of this codec is longer."""


def fingerprint(settings: str, shapes: Sequence[torch.Size]) -> bytes:
    """What a blob begins with. settings: all that decides how the rest is read."""
    said = ";".join((settings, *(str(list(shape)) for shape in shapes)))
    return hashlib.sha256(said.encode()).digest()[:FINGERPRINT]


def plain(tensors: Sequence[torch.Tensor], shapes: Sequence[torch.Size]) -> list[torch.Tensor]:
    """Tensors to encode as float32 on the CPU. Raises `ValueError`, as `Codec.encode` does."""
    if [tensor.shape for tensor in tensors] != list(shapes):
        raise ValueError("the tensors don't have the shapes of the codec")
    made = [tensor.detach().to("cpu", torch.float32) for tensor in tensors]
    for tensor in made:
        # The maximum of anything with NaN is NaN, which is not below.
        if tensor.numel() and not float(tensor.abs().max()) <= LARGEST:
            raise ValueError("a tensor holds NaN, infinity or a value that is too large")
    return made


def counted(
    blobs: Sequence[bytes], weights: Sequence[float], scales: Sequence[float] | None
) -> list[tuple[bytes, float, float]]:
    """The blobs that count, each with its share in (0, 1] and with its factor in the sum, which is
    the share, scaled. The shares' sum is 1 but for rounding.

    Raises `ValueError` for no blobs, and for weights that aren't finite, are negative or all 0.
    """
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ValueError("weights must be finite and at least 0, and one must be above 0")
    most = max(weights)
    relative = [weight / most for weight in weights]
    total = math.fsum(relative)  # rounded once, while `sum` differs between versions of Python
    shares = [_float32(each / total) for each in relative]
    factors = [
        _float32(share * scale)
        for share, scale in zip(shares, scales or [1.0] * len(shares), strict=True)
    ]
    return [each for each in zip(blobs, shares, factors, strict=True) if each[1] > 0]


def _float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))
