"""The few largest values of each block of an update: their places, and two bits for each.

After SparseLoCo (arXiv 2508.15706). A matrix is cut into blocks of at most 64 × 64, a vector into
runs of at most 64, whose sides divide those of the tensor. In each block the largest values by
magnitude are kept. Each kept value becomes one of four levels, which its tensor chooses.

A blob is its fingerprint, then one tensor after another: its four levels (float32, little-endian),
then groups of blocks. A group holds the upper bits of all places, then their lower bits, then the
codes of the values, each section filled up to whole bytes; bits are in little order.

The ascending places of a block are in Elias–Fano code: the lower bits as they are, the upper ones
as a row of bits in which the i-th 1 stands at (place >> lower bits) + i. That takes 8 bits a place
for 64 places of 4,096, where the plain index takes 12.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from app.trainer.local_steps.codec import (
    FINGERPRINT,
    LARGEST,
    BlobError,
    Codec,
    Encoded,
    counted,
    fingerprint,
    plain,
)

_SIDE = 64
"""The longest side of a block."""

_FULL = _SIDE * _SIDE
"""The values of which ``keep`` are kept."""

_GROUP = 2**18
"""Values that are coded together, in whole blocks."""

_LEVELS = 4
"""Of a value, so that two bits name one."""

_LEVELS_BYTES = 4 * _LEVELS

_LLOYD_STEPS = 12


@dataclass(frozen=True)
class _Grid:
    """How a tensor is cut into blocks of equal size."""

    shape: torch.Size

    keep: int
    """Values to keep of `_FULL`."""

    @cached_property
    def sides(self) -> tuple[int, int, int, int]:
        """Rows of blocks, rows of a block, columns of blocks, columns of a block."""
        columns = self.shape[-1] if self.shape else 1
        rows = self.shape.numel() // columns if columns else 0
        height, width = _side(rows), _side(columns)
        return rows // height, height, columns // width, width

    @cached_property
    def blocks(self) -> int:
        """How many blocks there are; 0 for a tensor without values."""
        return self.sides[0] * self.sides[2]

    @cached_property
    def size(self) -> int:
        """Values of a block."""
        return self.sides[1] * self.sides[3]

    @cached_property
    def kept(self) -> int:
        """Values that are kept of a block."""
        return max(1, self.keep * self.size // _FULL)

    @cached_property
    def low_bits(self) -> int:
        """Bits of a place that are sent as they are."""
        return int(math.log2(self.size // self.kept))

    @cached_property
    def row_bits(self) -> int:
        """Bits that hold the upper bits of a block's places."""
        return self.kept + (self.size - 1 >> self.low_bits)

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """The first block of each group, and the block after its last."""
        step = max(1, _GROUP // self.size)
        return [(at, min(at + step, self.blocks)) for at in range(0, self.blocks, step)]

    def sections(self, blocks: int) -> tuple[int, int, int]:
        """Bytes of a group's three sections."""
        values = blocks * self.kept
        return _bytes(blocks * self.row_bits), _bytes(values * self.low_bits), _bytes(values * 2)

    @cached_property
    def bytes(self) -> int:
        """Of this tensor in a blob."""
        groups = (sum(self.sections(end - begin)) for begin, end in self.groups)
        return _LEVELS_BYTES + sum(groups)

    def cut(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor's values, shape [blocks, size]."""
        return tensor.reshape(self.sides).transpose(1, 2).reshape(self.blocks, self.size)

    def joined(self, blocks: torch.Tensor) -> torch.Tensor:
        """The tensor of which those are the blocks."""
        down, height, across, width = self.sides
        return blocks.view(down, across, height, width).transpose(1, 2).reshape(self.shape)


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What the bytes of a group say."""

    places: NDArray[np.int64]
    """Of the kept values in their block, ascending; shape [blocks, kept]."""

    values: NDArray[np.float32]
    """Shape [blocks, kept]."""


class SparseCodec(Codec):
    """Keeps ``keep`` of 4,096 values. The mean at each place is over those blobs only that hold the
    place, and 0 where none does."""

    def __init__(self, shapes: Sequence[Sequence[int]], *, keep: int) -> None:
        """shapes: of the tensors of an update. keep: from 1 to 4,096; in proportion, and at least
        1, where a block is smaller."""
        if not 1 <= keep <= _FULL:
            raise ValueError(f"keep must be from 1 to {_FULL}")
        self._shapes = [torch.Size(shape) for shape in shapes]
        self._grids = [_Grid(shape, keep) for shape in self._shapes if shape.numel()]
        self._fingerprint = fingerprint(f"sparse,{keep}", self._shapes)

    def most_bytes(self) -> int:
        """The size of every blob."""
        return FINGERPRINT + sum(grid.bytes for grid in self._grids)

    def encode(self, tensors: Sequence[torch.Tensor]) -> Encoded:
        """The blob of an update; see `Codec.encode`."""
        made = [tensor for tensor in plain(tensors, self._shapes) if tensor.numel()]
        parts, decoded = [self._fingerprint], []
        for grid, tensor in zip(self._grids, made, strict=True):
            blocks = grid.cut(tensor)
            places = torch.cat([_largest(blocks[i:j], grid.kept) for i, j in grid.groups])
            values = blocks.gather(1, places).numpy()
            levels = _levels_of(values)
            codes = _nearest(levels, values)
            parts.append(levels.astype("<f4").tobytes())
            for begin, end in grid.groups:
                parts += _packed(grid, places[begin:end].numpy(), codes[begin:end])
            sent = torch.zeros_like(blocks).scatter_(1, places, torch.from_numpy(levels[codes]))
            decoded.append(grid.joined(sent))
        return Encoded(blob=b"".join(parts), decoded=self._with_empty(decoded))

    def mean(
        self,
        blobs: Sequence[bytes],
        weights: Sequence[float],
        scales: Sequence[float] | None = None,
    ) -> list[torch.Tensor]:
        """At each place the weighted mean over the blobs that hold it; see `Codec.mean`."""
        entries = counted(blobs, weights, scales)
        shares = [(share, factor) for _blob, share, factor in entries]
        streams = zip(*(self._read(blob) for blob, _share, _factor in entries), strict=True)
        made = []
        for grid in self._grids:
            blocks = torch.empty(grid.blocks, grid.size)
            for begin, end in grid.groups:
                blocks[begin:end] = _mean_of(next(streams), shares, size=grid.size)
            made.append(grid.joined(blocks))
        for _group in streams:  # lets each blob be read to its end
            raise AssertionError("a blob has more groups than the codec")
        return self._with_empty(made)

    def _with_empty(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """With those that have no values, about which a blob says nothing."""
        rest = iter(tensors)
        return [next(rest) if shape.numel() else torch.empty(shape) for shape in self._shapes]

    def _read(self, blob: bytes) -> Iterator[_Group]:
        """What a blob says, group by group, each of them checked. Raises `BlobError`."""
        if len(blob) != self.most_bytes():
            raise BlobError("it is too long or too short")
        if blob[:FINGERPRINT] != self._fingerprint:
            raise BlobError("it is of another model, or of other settings")
        view, at = memoryview(blob), FINGERPRINT
        for grid in self._grids:
            levels = np.frombuffer(view[at : at + _LEVELS_BYTES], dtype="<f4").astype(np.float32)
            if not np.all(np.abs(levels) <= LARGEST):  # NaN isn't
                raise BlobError("it holds values out of range")
            at += _LEVELS_BYTES
            for begin, end in grid.groups:
                size = sum(grid.sections(end - begin))
                yield _unpacked(grid, view[at : at + size], blocks=end - begin, levels=levels)
                at += size


def _side(length: int) -> int:
    """The largest divisor of a length that is at most `_SIDE`."""
    return next((side for side in range(min(_SIDE, length), 0, -1) if length % side == 0), 1)


# --- values


def _largest(blocks: torch.Tensor, count: int) -> torch.Tensor:
    """The places of each block's largest values by magnitude, ascending: int64, shape [blocks,
    count]. Of equal ones the first count, which ``topk`` alone doesn't promise."""
    sizes = blocks.abs()
    least = sizes.topk(count, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    chosen = sizes >= least
    for row in (chosen.sum(dim=1) > count).nonzero().flatten().tolist():
        above, equal = sizes[row] > least[row], sizes[row] == least[row]
        chosen[row] = above | equal & (equal.cumsum(0) <= count - above.sum())
    return chosen.nonzero()[:, 1].reshape(-1, count)


def _levels_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The four levels, ascending, that stand for values with the least squared error that Lloyd's
    algorithm finds."""
    exact = values.astype(np.float64).reshape(-1)
    levels = np.quantile(exact, (np.arange(_LEVELS) + 0.5) / _LEVELS)
    for _step in range(_LLOYD_STEPS):
        codes = _nearest(levels, exact)
        counts = np.bincount(codes, minlength=_LEVELS)
        sums = np.bincount(codes, weights=exact, minlength=_LEVELS)
        levels = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), levels))
    return np.clip(levels, -LARGEST, LARGEST).astype(np.float32)


def _nearest(levels: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.int64]:
    """The index of the level that is nearest to each value. levels: ascending."""
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values)


def _mean_of(
    groups: Sequence[_Group], shares: Sequence[tuple[float, float]], *, size: int
) -> torch.Tensor:
    """Of a group of blocks from each blob: float32, shape [blocks, size]. shares: of each blob, and
    its factor in the sum."""
    blocks = len(groups[0].places)
    total, share_total = torch.zeros(blocks, size), torch.zeros(blocks, size)
    for group, (share, factor) in zip(groups, shares, strict=True):
        places = torch.from_numpy(group.places)
        values = torch.from_numpy(group.values)
        # A blob holds a place once at most, so that the order of additions is that of the blobs.
        total.scatter_add_(1, places, values * factor)
        share_total.scatter_add_(1, places, torch.full_like(values, share))
    return torch.where(share_total > 0, total / share_total, 0.0)


# --- bits


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _packed(grid: _Grid, places: NDArray[np.int64], codes: NDArray[np.int64]) -> Iterator[bytes]:
    """The three sections of a group."""
    row = np.zeros((len(places), grid.row_bits), dtype=np.uint8)
    upper = (places >> grid.low_bits) + np.arange(grid.kept)
    np.put_along_axis(row, upper, 1, axis=1)
    yield np.packbits(row, bitorder="little").tobytes()
    yield _in_bits(places, grid.low_bits)
    yield _in_bits(codes, 2)


def _unpacked(
    grid: _Grid, content: memoryview, *, blocks: int, levels: NDArray[np.float32]
) -> _Group:
    """What the bytes of a group say. Raises `BlobError`."""
    upper_bytes, lower_bytes, _codes_bytes = grid.sections(blocks)
    rest = content[upper_bytes:]
    packed = np.frombuffer(content[:upper_bytes], dtype=np.uint8)
    row = np.unpackbits(packed, count=blocks * grid.row_bits, bitorder="little")
    row = row.reshape(blocks, grid.row_bits)
    if np.any(row.sum(axis=1, dtype=np.int64) != grid.kept):
        raise BlobError("a block holds too many values or too few")
    shape = (blocks, grid.kept)
    upper = row.nonzero()[1].reshape(shape) - np.arange(grid.kept)
    places = upper << grid.low_bits | _from_bits(rest[:lower_bytes], shape, grid.low_bits)
    if np.any(places[:, -1] >= grid.size) or np.any(places[:, 1:] <= places[:, :-1]):
        raise BlobError("a place is outside its block, or out of order")
    return _Group(places=places, values=levels[_from_bits(rest[lower_bytes:], shape, 2)])


def _in_bits(numbers: NDArray[np.int64], bits: int) -> bytes:
    """The lowest bits of each number, one after another."""
    spread = numbers.reshape(-1, 1) >> np.arange(bits) & 1
    return np.packbits(spread.astype(np.uint8), bitorder="little").tobytes()


def _from_bits(content: memoryview, shape: tuple[int, int], bits: int) -> NDArray[np.int64]:
    packed = np.frombuffer(content, dtype=np.uint8)
    spread = np.unpackbits(packed, count=shape[0] * shape[1] * bits, bitorder="little")
    numbers: NDArray[np.int64] = spread.reshape(*shape, bits) @ (1 << np.arange(bits))
    return numbers
