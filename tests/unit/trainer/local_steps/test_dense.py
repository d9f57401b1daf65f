"""Dense blobs: how exact, how large, and what a stream may not hold."""

import tracemalloc
import zlib
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.trainer.local_steps.codec import BlobError
from app.trainer.local_steps.dense import DenseCodec

Bits = Literal[4, 8, 16]
STEPS: dict[Bits, int] = {4: 7, 8: 127, 16: 32767}
each_width = pytest.mark.parametrize("bits", STEPS)


def noise(*shape: int, scale: float = 1e-3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * scale).float()


@each_width
@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e-3, 1e6])
def test_an_error_is_at_most_half_a_step(bits: Bits, scale: float) -> None:
    """Of a block's largest value by 7, 127 or 32,767, and 1/128 more: scales are rounded up."""
    tensor = noise(1000, 64, scale=scale)
    decoded = DenseCodec([tensor.shape], bits=bits).encode([tensor]).decoded[0]
    step = tensor.abs().amax(dim=1, keepdim=True) / STEPS[bits] * (1 + 2**-7)
    assert bool(((decoded - tensor).abs() <= 0.5001 * step).all())


@each_width
@given(data=st.data())
def test_every_value_of_any_tensor_is_near(bits: Bits, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 70))
    values = data.draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=count, max_size=count))
    block = data.draw(st.integers(1, 80))
    tensor = torch.tensor(values)
    decoded = DenseCodec([tensor.shape], bits=bits, block=block).encode([tensor]).decoded[0]
    most = float(tensor.abs().max()) / STEPS[bits] * (1 + 2**-7)
    assert float((decoded - tensor).abs().max()) <= 0.51 * most + 1e-38


@pytest.mark.parametrize(("bits", "most"), [(4, 3.85), (8, 8.0), (16, 16.3)])
def test_bits_a_value(bits: Bits, most: float) -> None:
    tensor = noise(1024, 1024)
    blob = DenseCodec([tensor.shape], bits=bits).encode([tensor]).blob
    assert 8 * len(blob) / tensor.numel() < most


@each_width
def test_what_cannot_be_compressed_fits_all_the_same(bits: Bits) -> None:
    """Values of uniform distribution, in blocks of one value and of scales all over the place."""
    generator = np.random.default_rng(3)
    exponents = 10.0 ** generator.uniform(-30, 9, size=(300, 1000))
    tensor = torch.from_numpy(generator.uniform(-1, 1, size=(300, 1000)) * exponents).float()
    for block in (1, 64, 2**21):
        codec = DenseCodec([tensor.shape], bits=bits, block=block)
        blob = codec.encode([tensor]).blob
        assert len(blob) <= codec.most_bytes()
        codec.check(blob)


def test_tensors_of_several_chunks_come_back() -> None:
    tensor = noise(3, 2**20 // 2 + 17)
    encoded = DenseCodec([tensor.shape, (5,)], bits=16).encode([tensor, torch.ones(5)])
    torch.testing.assert_close(encoded.decoded[0], tensor, rtol=0, atol=1e-6)


def test_a_mean_counts_every_value_by_its_weight() -> None:
    codec = DenseCodec([(2, 3)], bits=16)
    blobs = [codec.encode([torch.full((2, 3), value)]).blob for value in (1.0, 5.0)]
    torch.testing.assert_close(
        codec.mean(blobs, [3.0, 1.0])[0], torch.full((2, 3), 2.0), rtol=1e-2, atol=0
    )


# --- hostile streams

CODEC = DenseCodec([(64, 64)], bits=8)
GOOD = CODEC.encode([noise(64, 64)]).blob
RAW = 64 * 64 + 2 * 64


def made_of(content: bytes) -> bytes:
    return GOOD[:8] + zlib.compress(content)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, -1.0, 1e38, -0.0], ids=str)
def test_scales_that_make_no_sense_are_refused(scale: float) -> None:
    bits = np.array([scale], dtype="<f4").tobytes()[2:]
    with pytest.raises(BlobError, match="range"):
        CODEC.check(made_of(bits * 64 + bytes(64 * 64)))


def test_a_code_that_the_codec_never_writes_is_refused() -> None:
    CODEC.check(made_of(bytes(128) + b"\x81" * 64 * 64))
    with pytest.raises(BlobError, match="range"):
        CODEC.check(made_of(bytes(128) + b"\x80" * 64 * 64))


def test_a_stream_of_other_length_is_refused() -> None:
    CODEC.check(made_of(bytes(RAW)))
    with pytest.raises(BlobError, match="early"):
        CODEC.check(made_of(bytes(RAW - 1)))
    with pytest.raises(BlobError, match="too much"):
        CODEC.check(made_of(bytes(RAW + 1)))
    with pytest.raises(BlobError, match="follows"):
        CODEC.check(made_of(bytes(RAW)) + b"more")
    with pytest.raises(BlobError, match="decompressed"):
        CODEC.check(GOOD[:8] + b"no zlib at all")


def test_a_bomb_takes_no_memory() -> None:
    """A few kilobytes that unpack to hundreds of megabytes."""
    large = DenseCodec([(4, 4)], bits=4)
    small = large.encode([torch.zeros(4, 4)]).blob[:8]
    engine = zlib.compressobj(9)
    bomb = small + b"".join(engine.compress(bytes(2**20)) for _each in range(64)) + engine.flush()
    wide = DenseCodec([(1024, 1024)], bits=4)
    wide_bomb = wide.encode([torch.zeros(1024, 1024)]).blob[:8] + bomb[8:]
    tracemalloc.start()
    try:
        with pytest.raises(BlobError, match="long"):
            large.check(bomb)
        with pytest.raises(BlobError, match="too much"):
            wide.check(wide_bomb)
        assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
    finally:
        tracemalloc.stop()


def test_empty_blocks_without_end_are_refused() -> None:
    stored_nothing = b"\x00\x00\x00\xff\xff"
    blob = GOOD[:8] + b"\x78\x01" + stored_nothing * 500
    with pytest.raises(BlobError, match="early"):
        CODEC.check(blob)
