"""Every value of an update in 4, 8 or 16 bits: blocks of integers with one scale each.

A blob is its fingerprint, then one zlib stream of chunks. A chunk is a range of one tensor: the
scales of its blocks (bfloat16, little-endian), then its codes (two's complement, little-endian;
codes of 4 bits two a byte, the first one in the lower half).

Scales are bfloat16, since float16 ends at 6e-8 and an update's values may be smaller. They are
rounded up, so that no value of the block is cut off. The product of a code and a scale has at most
23 significant bits: float32 holds it exactly.

Codes of 4 bits hold 3.5 bits of information, since few values of a block are near its largest one.
Huffman's code alone gets that; looking for repetitions would take time and find none.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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

_CHUNK = 2**20
"""Values that are coded together."""

_PIECE = 2**16
"""Bytes that go into the decompressor at once, since it copies what it doesn't need yet."""

_SCALE = 2
"""Bytes of a scale."""


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """A range of a tensor's values."""

    tensor: int
    """Index of the tensor."""

    begin: int
    end: int

    blocks: int
    """The last one may be shorter than the others."""

    code_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Codes:
    """What a chunk's bytes say."""

    scales: NDArray[np.uint16]
    """bfloat16 by its bits, shape [blocks]."""

    codes: NDArray[np.signedinteger]
    """int8 or int16, shape [values]."""


class DenseCodec(Codec):
    """Symmetric block quantisation."""

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        *,
        bits: Literal[4, 8, 16],
        block: int = 64,
    ) -> None:
        """shapes: of the tensors of an update. bits: of a value. block: values with one scale."""
        self._shapes = [torch.Size(shape) for shape in shapes]
        self._bits, self._block = bits, block
        self._levels = 2 ** (bits - 1) - 1
        self._dtype: np.dtype[Any] = np.dtype("<i2" if bits == 16 else "i1")
        self._chunks = list(self._cut())
        self._fingerprint = fingerprint(f"dense,{bits},{block}", self._shapes)

    def _cut(self) -> Iterator[_Chunk]:
        length = max(1, _CHUNK // self._block) * self._block
        for index, shape in enumerate(self._shapes):
            for begin in range(0, shape.numel(), length):
                count = min(length, shape.numel() - begin)
                yield _Chunk(
                    tensor=index,
                    begin=begin,
                    end=begin + count,
                    blocks=-(-count // self._block),
                    code_bytes=-(-count * self._bits // 8),
                )

    def most_bytes(self) -> int:
        """No blob is longer. zlib adds five bytes to each 16 KiB that it can't compress."""
        raw = sum(_SCALE * chunk.blocks + chunk.code_bytes for chunk in self._chunks)
        return FINGERPRINT + raw + raw // 1000 + 64

    def encode(self, tensors: Sequence[torch.Tensor]) -> Encoded:
        """The blob of an update; see `Codec.encode`."""
        flat = [tensor.flatten() for tensor in plain(tensors, self._shapes)]
        decoded = [torch.empty(shape) for shape in self._shapes]
        compressor = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
        parts = [self._fingerprint]
        for chunk in self._chunks:
            coded = self._coded(flat[chunk.tensor][chunk.begin : chunk.end])
            decoded[chunk.tensor].view(-1)[chunk.begin : chunk.end] = self._values(coded)
            parts.append(compressor.compress(coded.scales.astype("<u2").tobytes()))
            parts.append(compressor.compress(self._packed(coded.codes)))
        parts.append(compressor.flush())
        return Encoded(blob=b"".join(parts), decoded=decoded)

    def mean(
        self,
        blobs: Sequence[bytes],
        weights: Sequence[float],
        scales: Sequence[float] | None = None,
    ) -> list[torch.Tensor]:
        """The weighted mean over all blobs; see `Codec.mean`."""
        entries = counted(blobs, weights, scales)
        mean = [torch.empty(shape) for shape in self._shapes]
        streams = zip(*(self._read(blob) for blob, _share, _factor in entries), strict=True)
        for chunk, parts in zip(self._chunks, streams, strict=True):
            total = torch.zeros(chunk.end - chunk.begin)
            for codes, (_blob, _share, factor) in zip(parts, entries, strict=True):
                total.add_(self._values(codes).mul_(factor))
            mean[chunk.tensor].view(-1)[chunk.begin : chunk.end] = total
        return mean

    # --- a chunk as numbers

    def _coded(self, values: torch.Tensor) -> _Codes:
        blocks = self._in_blocks(values)
        scales = _rounded_up(blocks.abs().amax(dim=1) / self._levels)
        sizes = _sizes(scales)[:, None]
        quotients = torch.where(sizes > 0, blocks / sizes, 0.0)
        codes = quotients.round_().clamp_(-self._levels, self._levels)
        flat = codes.flatten()[: values.numel()].numpy().astype(self._dtype)
        return _Codes(scales=scales, codes=flat)

    def _values(self, coded: _Codes) -> torch.Tensor:
        codes = torch.from_numpy(coded.codes.astype(np.float32))
        blocks = self._in_blocks(codes) * _sizes(coded.scales)[:, None]
        return blocks.flatten()[: codes.numel()]

    def _in_blocks(self, values: torch.Tensor) -> torch.Tensor:
        """Values in rows of one block each; zeros fill the last row."""
        missing = -values.numel() % self._block
        return torch.nn.functional.pad(values, (0, missing)).view(-1, self._block)

    # --- a chunk as bytes

    def _packed(self, codes: NDArray[np.signedinteger]) -> bytes:
        if self._bits != 4:
            return codes.tobytes()
        halves = codes.view(np.uint8) & 15
        pairs = np.zeros((-(-len(halves) // 2), 2), dtype=np.uint8)
        pairs.reshape(-1)[: len(halves)] = halves
        return (pairs[:, 0] | pairs[:, 1] << 4).tobytes()

    def _unpacked(self, content: bytes, count: int) -> NDArray[np.signedinteger]:
        if self._bits != 4:
            return np.frombuffer(content, dtype=self._dtype)
        pairs = np.frombuffer(content, dtype=np.uint8)
        halves = np.stack((pairs & 15, pairs >> 4), axis=1).reshape(-1)[:count]
        return ((halves ^ 8).astype(np.int8) - 8).astype(np.int8)

    def _read(self, blob: bytes) -> Iterator[_Codes]:
        """What a blob says, chunk by chunk, each of them checked. Raises `BlobError`."""
        if len(blob) > self.most_bytes():
            raise BlobError("it is too long")
        if blob[:FINGERPRINT] != self._fingerprint:
            raise BlobError("it is of another model, or of other settings")
        stream = _Inflating(memoryview(blob)[FINGERPRINT:])
        for chunk in self._chunks:
            scales = np.frombuffer(stream.read(_SCALE * chunk.blocks), dtype="<u2")
            codes = self._unpacked(stream.read(chunk.code_bytes), chunk.end - chunk.begin)
            # NaN, infinity and negative scales are larger by their bits than any that is allowed.
            if scales.max() > _largest_scale(self._levels) or codes.min() < -self._levels:
                raise BlobError("it holds values out of range")
            yield _Codes(scales=scales, codes=codes)
        stream.end()


class _Inflating:
    """Reads a zlib stream, never more of it than is asked for."""

    def __init__(self, content: memoryview) -> None:
        self._engine = zlib.decompressobj()
        self._rest = content

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises `BlobError` when there are fewer."""
        parts: list[bytes] = []
        while size:
            part = self._more(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def end(self) -> None:
        """Raise `BlobError` unless all was read."""
        while not self._engine.eof:
            if self._more(1):
                raise BlobError("it holds too much")
        if self._engine.unused_data or self._rest:
            raise BlobError("something follows its end")

    def _more(self, most: int) -> bytes:
        """At most so many bytes, perhaps none yet."""
        waiting = self._engine.unconsumed_tail
        if not waiting:
            waiting, self._rest = bytes(self._rest[:_PIECE]), self._rest[_PIECE:]
        try:
            part = self._engine.decompress(waiting, most)
        except zlib.error as error:
            raise BlobError("it can't be decompressed") from error
        if not part and (self._engine.eof or not waiting):
            raise BlobError("it ends too early")
        return part


def _rounded_up(scales: torch.Tensor) -> NDArray[np.uint16]:
    """The smallest bfloat16 that isn't below, by its bits. scales: float32, at least 0."""
    return ((scales.numpy().view(np.uint32) + 0xFFFF) >> 16).astype(np.uint16)


def _sizes(scales: NDArray[np.uint16]) -> torch.Tensor:
    """bfloat16 by its bits as float32."""
    return torch.from_numpy((scales.astype(np.uint32) << 16).view(np.float32))


def _largest_scale(levels: int) -> int:
    """By its bits; those of positive numbers are in the order of the numbers."""
    return int(_rounded_up(torch.tensor([LARGEST / levels]))[0])
