"""Contributions of which one is larger than it may be, so that a norm decides its scale."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from app.trainer.exchange.exchange import PeerBlob
from app.trainer.local_steps.believing import BASE_BYTES, believed
from app.trainer.local_steps.codec import Codec
from app.trainer.local_steps.dense import DenseCodec
from app.trainer.local_steps.sparse import SparseCodec

SHAPES = [(256, 512), (64,)]
"""Large enough for several threads."""

CODECS: list[Codec] = [DenseCodec(SHAPES, bits=4), SparseCodec(SHAPES, keep=64)]
BASE = bytes(BASE_BYTES)


def means_with_a_cut_blob() -> list[torch.Tensor]:
    """One after another for each codec."""
    return [each for codec in CODECS for each in _mean(codec)]


def _mean(codec: Codec) -> Sequence[torch.Tensor]:
    blobs = [codec.encode(_update(number)).blob for number in range(4)]
    contributions = [
        PeerBlob(peer_id=str(number), weight=1.0, blob=BASE + blob)
        for number, blob in enumerate(blobs)
    ]
    found = believed(contributions, codec=codec, base=BASE, farthest=math.inf)
    assert not found.faults
    plain = codec.mean(blobs, [1.0] * len(blobs))
    assert float(found.mean[0].abs().max()) < float(plain[0].abs().max())  # it was cut
    return found.mean


def _update(number: int) -> list[torch.Tensor]:
    """Random values by NumPy, whose generator gives the same on every processor."""
    generator, factor = np.random.default_rng(number), 9.7 if number == 3 else 1.0
    return [
        torch.from_numpy(np.asarray(factor * generator.normal(size=shape), dtype=np.float32))
        for shape in SHAPES
    ]
