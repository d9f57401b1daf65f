"""What both codecs promise: hostile blobs are refused, and all machines compute the same mean."""

import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.spec import schema
from app.spec.line import update_bytes
from app.trainer.local_steps.codec import LARGEST, BlobError, Codec, counted
from app.trainer.local_steps.dense import DenseCodec
from app.trainer.local_steps.sparse import SparseCodec
from tests.support.processes.apps import tiny_spec, training
from tests.support.training.cut import means_with_a_cut_blob

ROOT = Path(__file__).parents[4]
SHAPES = [(96, 64), (7,), (), (1,), (130, 10), (3, 4, 5), (0, 3), (127,)]
CODECS: dict[str, Codec] = {
    "dense 4": DenseCodec(SHAPES, bits=4),
    "dense 8": DenseCodec(SHAPES, bits=8, block=32),
    "dense 16": DenseCodec(SHAPES, bits=16, block=50),
    "sparse 64": SparseCodec(SHAPES, keep=64),
    "sparse 1": SparseCodec(SHAPES, keep=1),
    "sparse 4096": SparseCodec(SHAPES, keep=4096),
}
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
with_any_codec = st.sampled_from(list(CODECS.values()))


def update(seed: int, shapes: Sequence[Sequence[int]] = SHAPES) -> list[torch.Tensor]:
    """Random values by NumPy, whose generator gives the same on every processor."""
    generator = np.random.default_rng(seed)
    return [
        torch.from_numpy(np.asarray(generator.normal(size=shape) * 1e-3, dtype=np.float32))
        for shape in shapes
    ]


def same(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# --- sizes

LAYER = [(256, 256), (256, 512), (512,), (64,)]


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        *(("diloco", {"bits": bits}) for bits in (4, 8, 16)),
        *(("sparseloco", {"keep": keep}) for keep in (1, 50, 64, 128, 1000, 4096)),
    ],
)
def test_a_blob_is_as_large_as_foreseen(strategy: str, options: dict[str, int]) -> None:
    values = training(strategy=strategy, **{strategy: options})
    options_of = schema.parse(tiny_spec(training_params=values)).training
    codec: Codec = (
        DenseCodec(LAYER, bits=options_of.diloco.bits)
        if options_of.diloco is not None
        else SparseCodec(LAYER, keep=options["keep"])
    )
    parameters = sum(torch.Size(shape).numel() for shape in LAYER)
    expected = update_bytes(options_of, parameters=parameters)
    measured = len(codec.encode(update(1, LAYER)).blob)
    assert measured == pytest.approx(expected, rel=0.02, abs=150)


# --- round trips


@each_codec
def test_the_sender_knows_what_receivers_read(codec: Codec) -> None:
    encoded = codec.encode(update(1))
    codec.check(encoded.blob)
    assert same(codec.decode(encoded.blob), encoded.decoded)
    assert [tensor.shape for tensor in encoded.decoded] == [torch.Size(each) for each in SHAPES]
    assert {tensor.dtype for tensor in encoded.decoded} == {torch.float32}
    assert len(encoded.blob) <= codec.most_bytes()


@each_codec
def test_the_same_update_becomes_the_same_blob_and_stays_as_it_was(codec: Codec) -> None:
    tensors = update(2)
    assert codec.encode(tensors).blob == codec.encode(tensors).blob
    assert same(tensors, update(2))


@each_codec
@pytest.mark.parametrize("value", [0.0, 3.0, -LARGEST, LARGEST, 1e-44, 1e-38])
def test_constant_tensors_come_back(codec: Codec, value: float) -> None:
    sent = codec.encode([torch.full(shape, value) for shape in SHAPES])
    codec.check(sent.blob)
    for tensor in sent.decoded:
        kept = tensor[tensor != 0]
        torch.testing.assert_close(kept, torch.full_like(kept, value), rtol=0.01, atol=1e-38)


@each_codec
def test_any_dtype_and_layout_is_taken(codec: Codec) -> None:
    tensors = [tensor.to(torch.float16) for tensor in update(3)]
    tensors[0] = tensors[0].T.contiguous().T
    encoded = codec.encode([tensor.requires_grad_() for tensor in tensors])
    assert encoded.blob == codec.encode([tensor.detach().float() for tensor in tensors]).blob


@each_codec
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2 * LARGEST])
def test_what_is_not_finite_is_never_sent(codec: Codec, value: float) -> None:
    tensors = update(4)
    tensors[4][3, 3] = value
    with pytest.raises(ValueError, match="NaN"):
        codec.encode(tensors)


@each_codec
def test_other_shapes_are_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match="shapes"):
        codec.encode(update(5)[:-1])
    with pytest.raises(ValueError, match="shapes"):
        codec.encode([tensor.reshape(-1) for tensor in update(5)])


# --- means


@each_codec
def test_the_mean_of_one_blob_is_what_it_holds(codec: Codec) -> None:
    encoded = codec.encode(update(6))
    assert same(codec.mean([encoded.blob], [17.0]), encoded.decoded)
    assert same(codec.mean([encoded.blob] * 3, [1.0, 0.0, 0.0]), encoded.decoded)


@each_codec
def test_weights_that_say_nothing_are_refused(codec: Codec) -> None:
    blob = codec.encode(update(7)).blob
    for weights in ([0.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [float("inf"), 1.0], [1.0]):
        with pytest.raises(ValueError, match=r"weights|shorter"):
            codec.mean([blob, blob], weights)
    with pytest.raises(ValueError, match="weights"):
        codec.mean([], [])


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=8).filter(any))
def test_shares_of_any_weights_are_proportions(weights: list[float]) -> None:
    shares = [share for _blob, share, _factor in counted([b""] * len(weights), weights, None)]
    assert all(0 < share <= 1 for share in shares)
    assert sum(shares) == pytest.approx(1, abs=1e-6)


@each_codec
def test_means_hold_one_update_at_a_time(codec: Codec) -> None:
    shapes = [(1024, 1024)]
    wide = (
        SparseCodec(shapes, keep=64)
        if isinstance(codec, SparseCodec)
        else DenseCodec(shapes, bits=4)
    )
    blob = wide.encode(update(8, shapes)).blob
    # NumPy's memory is traced and PyTorch's isn't: only what is held for each blob counts here.
    tracemalloc.start()
    try:
        wide.mean([blob] * 16, [1.0] * 16)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def digest_of_means() -> str:
    """Of means, and of what an optimizer makes of them."""
    from app.trainer.local_steps.outer import outer_optimizer, step

    digest = hashlib.sha256()
    weights = [torch.nn.Parameter(tensor) for tensor in update(9)]
    optimizer = outer_optimizer(weights, rate=0.7, momentum=0.9)
    for codec in CODECS.values():
        blobs = [codec.encode(update(seed)).blob for seed in range(3)]
        mean = codec.mean(blobs, [3.0, 0.7, 11.0])
        step(optimizer, mean)
        for tensor in (*mean, *weights):
            digest.update(tensor.detach().numpy().tobytes())
    for tensor in means_with_a_cut_blob():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_means_have_the_same_bits_in_any_process(capability: str) -> None:
    """PyTorch chooses other instructions on other processors; here it is told which to choose."""
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "import importlib.util, torch\n"
        f"spec = importlib.util.spec_from_file_location('means', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "for threads in (1, 3):\n"
        "    torch.set_num_threads(threads)\n"
        "    print(module.digest_of_means())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"ATEN_CPU_CAPABILITY": capability},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [digest_of_means()] * 2


# --- hostile blobs


def survives(codec: Codec, blob: bytes) -> bool:
    """Whether a blob is believed; if so, all that it says is finite. If not, all three refuse."""
    try:
        codec.check(blob)
    except BlobError:
        good = codec.encode(update(1)).blob
        for refuse in (codec.decode, lambda blob: codec.mean([good, blob], [1.0, 1.0])):
            with pytest.raises(BlobError):
                refuse(blob)
        return False
    decoded = codec.decode(blob)
    assert [tensor.shape for tensor in decoded] == [torch.Size(each) for each in SHAPES]
    assert all(bool((tensor.abs() <= 1.01 * LARGEST).all()) for tensor in decoded)
    return True


@each_codec
def test_shortened_and_lengthened_blobs_are_refused(codec: Codec) -> None:
    blob = codec.encode(update(1)).blob
    for wrong in (b"", blob[:4], blob[:8], blob[:-1], blob[: len(blob) // 2], blob + b"\0"):
        assert not survives(codec, wrong)
    assert not survives(codec, blob + blob)


@each_codec
def test_a_blob_of_other_shapes_or_settings_is_refused(codec: Codec) -> None:
    for other in CODECS.values():
        if other is not codec:
            assert not survives(codec, other.encode(update(1)).blob)
    turned = [shape[::-1] for shape in SHAPES]
    same_kind = (
        SparseCodec(turned, keep=64)
        if isinstance(codec, SparseCodec)
        else DenseCodec(turned, bits=4)
    )
    assert not survives(codec, same_kind.encode(update(1, turned)).blob)


@given(with_any_codec, st.binary(max_size=2000), st.booleans())
def test_random_bytes_are_never_believed_blindly(codec: Codec, noise: bytes, headed: bool) -> None:
    start = codec.encode(update(1)).blob[:8] if headed else b""
    survives(codec, start + noise)


@given(with_any_codec, st.data())
def test_changed_bytes_are_refused_or_harmless(codec: Codec, data: st.DataObject) -> None:
    blob = bytearray(codec.encode(update(1)).blob)
    for _change in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(blob) - 1))
        blob[place] = data.draw(st.integers(0, 255))
    survives(codec, bytes(blob))


@each_codec
def test_a_scaled_blob_counts_for_less_where_it_is_alone_too(codec: Codec) -> None:
    blob = codec.encode(update(1)).blob
    half = codec.mean([blob], [3.0], [0.5])
    assert all(
        torch.equal(part, whole * 0.5) for part, whole in zip(half, codec.decode(blob), strict=True)
    )
