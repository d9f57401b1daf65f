"""Sparse blobs: which values are kept, how large a blob is, and places that make no sense."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.trainer.local_steps.codec import BlobError
from app.trainer.local_steps.sparse import SparseCodec


def noise(*shape: int, scale: float = 1e-3, seed: int = 0) -> torch.Tensor:
    drawn = np.random.default_rng(seed).normal(size=shape) * scale
    return torch.from_numpy(np.asarray(drawn, dtype=np.float32))


def sent(tensor: torch.Tensor, *, keep: int) -> torch.Tensor:
    return SparseCodec([tensor.shape], keep=keep).encode([tensor]).decoded[0]


@pytest.mark.parametrize(("keep", "most"), [(32, 0.095), (64, 0.157), (128, 0.282), (512, 0.876)])
def test_bits_a_parameter(keep: int, most: float) -> None:
    """Plain indices of 12 bits would take 0.219 at 64 of 4,096."""
    codec = SparseCodec([(1024, 1024)], keep=keep)
    blob = codec.encode([noise(1024, 1024)]).blob
    assert 8 * len(blob) / 1024**2 < most
    assert len(blob) == codec.most_bytes()


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((128, 192), 6 * 64),
        ((58, 128), 4 * (29 * 64 // 64)),  # 58 = 2 · 29
        ((96,), 2),  # two runs of 48, each with one value at least
        ((4, 32, 64), 2 * 64),  # flattened to 128 rows of 64
        ((67, 64), 67),  # 67 is prime: blocks of 1 × 64
        ((1,), 1),
        ((), 1),
    ],
)
def test_how_many_values_are_kept(shape: tuple[int, ...], count: int) -> None:
    assert int((sent(noise(*shape), keep=64) != 0).sum()) == count


def test_the_largest_of_each_block_are_kept() -> None:
    tensor = noise(128, 128)
    kept = sent(tensor, keep=64) != 0
    for down in (slice(64), slice(64, None)):
        for across in (slice(64), slice(64, None)):
            block, chosen = tensor[down, across].abs(), kept[down, across]
            assert int(chosen.sum()) == 64
            assert float(block[chosen].min()) > float(block[~chosen].max())


def test_of_equal_values_the_first_are_kept() -> None:
    tensor = torch.ones(64, 64)
    tensor[40, 7], tensor[20, 1] = -2.0, 3.0
    kept = (sent(tensor, keep=64) != 0).flatten()
    expected = torch.zeros(4096, dtype=torch.bool)
    expected[:62] = expected[40 * 64 + 7] = expected[20 * 64 + 1] = True
    assert torch.equal(kept, expected)


def test_few_distinct_values_come_back_exactly() -> None:
    tensor = torch.zeros(64, 64)
    tensor.view(-1)[::64] = torch.tensor([-3.0, -1.0, 0.5, 8.0]).repeat(16)
    torch.testing.assert_close(sent(tensor, keep=64), tensor)


def test_signs_and_sizes_survive_two_bits() -> None:
    tensor = noise(512, 512)
    decoded = sent(tensor, keep=64)
    kept = decoded != 0
    assert torch.equal(decoded[kept].sign(), tensor[kept].sign())
    error = (decoded[kept] - tensor[kept]).norm() / tensor[kept].norm()
    assert float(error) < 0.09  # the recipe's uniform bins: 0.12


@given(
    st.lists(st.integers(0, 40), min_size=0, max_size=3),
    st.integers(1, 4096),
    st.sampled_from([0.0, 1e-40, 1e-6, 1.0, 1e11]),
)
def test_any_shape_can_be_sent(shape: list[int], keep: int, scale: float) -> None:
    codec = SparseCodec([shape], keep=keep)
    encoded = codec.encode([noise(*shape, scale=scale)])
    codec.check(encoded.blob)
    assert torch.equal(codec.decode(encoded.blob)[0], encoded.decoded[0])


@pytest.mark.parametrize("keep", [0, 4097])
def test_a_keep_out_of_range_is_refused(keep: int) -> None:
    with pytest.raises(ValueError, match="keep"):
        SparseCodec([(64, 64)], keep=keep)


def test_a_mean_is_over_those_who_sent_a_place() -> None:
    codec = SparseCodec([(64,)], keep=64)  # one value of 64
    first, second, third = torch.zeros(64), torch.zeros(64), torch.zeros(64)
    first[3], second[3], third[60] = 1.0, 5.0, 7.0
    blobs = [codec.encode([each]).blob for each in (first, second, third)]
    mean = codec.mean(blobs, [3.0, 1.0, 1.0])[0]
    expected = torch.zeros(64)
    expected[3], expected[60] = 2.0, 7.0
    torch.testing.assert_close(mean, expected)


# --- hostile blobs

CODEC = SparseCodec([(64, 64)], keep=64)
BLOB = CODEC.encode([noise(64, 64)]).blob
LEVELS, UPPER, LOWER = 8, 8 + 16, 8 + 16 + 16  # the upper bits take 127 bits


def changed(place: int, content: bytes) -> bytes:
    return BLOB[:place] + content + BLOB[place + len(content) :]


@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf, 1e30])
def test_levels_that_make_no_sense_are_refused(level: float) -> None:
    with pytest.raises(BlobError, match="range"):
        CODEC.check(changed(LEVELS + 4, np.array([level], dtype="<f4").tobytes()))


@pytest.mark.parametrize("upper", [bytes(16), b"\xff" * 16, b"\xff" * 9 + bytes(7)])
def test_too_many_or_too_few_places_are_refused(upper: bytes) -> None:
    with pytest.raises(BlobError, match="too many"):
        CODEC.check(changed(UPPER, upper))


def test_places_that_come_twice_are_refused() -> None:
    """All upper bits are 0: places from 0 to 63, which must ascend by their lower bits."""
    all_first = changed(UPPER, b"\xff" * 8 + bytes(8))
    ascending = np.unpackbits(
        np.arange(64, dtype=np.uint8)[:, None], axis=1, count=6, bitorder="little"
    )
    lower = np.packbits(ascending, bitorder="little").tobytes()
    CODEC.check(all_first[:LOWER] + lower + all_first[LOWER + 48 :])
    with pytest.raises(BlobError, match="order"):
        CODEC.check(all_first[:LOWER] + bytes(48) + all_first[LOWER + 48 :])


def test_places_outside_a_block_are_refused() -> None:
    codec = SparseCodec([(48,)], keep=64)  # one of 48 values: no upper place, five lower bits
    blob = codec.encode([noise(48)]).blob
    refused = 0
    for upper in range(256):
        for lower in range(32):
            try:
                codec.check(blob[:24] + bytes([upper, lower]) + blob[26:])
            except BlobError:
                refused += 1
    assert 0 < refused < 256 * 32
    assert refused >= 256 * 32 - 48 * 64  # two bits of the first byte count
