"""Endless, reproducible samples, which the training loop draws."""

import hashlib
from collections.abc import Generator
from typing import Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from app.trainer.data.tokenizer import TokenArray


class Batches(Protocol):
    """Endless samples. One thread draws."""

    vocabulary_size: int
    """Token ids are below this."""

    position: int
    """Samples drawn so far, in earlier runs too. A checkpoint keeps it, and `open_data` takes it as
    ``start``."""

    def next(self, count: int) -> torch.Tensor:
        """``count`` samples: int64, shape [count, sequence_length + 1], on the CPU."""

    def close(self) -> None:
        """Close files and connections. Nothing may be drawn afterwards."""


class WindowBatches:
    """Random windows of a corpus, drawn with replacement, as in nanoGPT.

    The n-th sample depends only on the seed, the identity and n: a peer that resumes at n draws
    the samples that it would have drawn without the break, whatever its batch sizes.
    """

    def __init__(
        self,
        tokens: TokenArray,
        *,
        sequence_length: int,
        vocabulary_size: int,
        seed: int,
        identity: bytes,
        start: int = 0,
        pin: bool = False,
    ) -> None:
        # A view of shape [windows, sequence_length + 1]: nothing is read until a batch picks rows.
        self._windows = sliding_window_view(np.asarray(tokens), sequence_length + 1)
        self._key = order_key(seed, identity=identity)
        self._pin = pin
        self.vocabulary_size = vocabulary_size
        self.position = start

    def next(self, count: int) -> torch.Tensor:
        """``count`` samples: int64, shape [count, sequence_length + 1]."""
        picked = draws(self._key, start=self.position, count=count) % len(self._windows)
        self.position += count
        return _tensor(self._windows[picked], pin=self._pin)

    def close(self) -> None:
        """Unmap the corpus."""
        self._windows = self._windows[:0].copy()


class StreamBatches:
    """Tokens in the order of a stream, cut into samples.

    ``start`` is only the first value of `position`: to resume, the stream itself must begin
    elsewhere (see `hub.documents_of`). `next` may wait for the network.
    """

    def __init__(
        self,
        tokens: Generator[TokenArray, None, None],
        *,
        sequence_length: int,
        vocabulary_size: int,
        start: int = 0,
        pin: bool = False,
    ) -> None:
        self._tokens = tokens
        self._window = sequence_length + 1
        self._pin = pin
        self.vocabulary_size = vocabulary_size
        self.position = start
        # Read at once: data that can't be read then fails before the swarm is entered.
        self._buffer = self._more()

    def next(self, count: int) -> torch.Tensor:
        """``count`` samples: int64, shape [count, sequence_length + 1].

        Raises `DataError` when the stream breaks and can't be resumed.
        """
        wanted = count * self._window
        arrays, size = [self._buffer], self._buffer.size
        while size < wanted:
            arrays.append(self._more())
            size += arrays[-1].size
        joined = np.concatenate(arrays)
        samples, self._buffer = joined[:wanted], joined[wanted:]
        self.position += count
        return _tensor(samples.reshape(count, self._window), pin=self._pin)

    def close(self) -> None:
        """Close the stream, with its process and connections."""
        self._tokens.close()

    def _more(self) -> TokenArray:
        for array in self._tokens:
            return array
        raise ValueError("nothing is drawn from a closed stream")


def order_key(seed: int, *, identity: bytes, start: int = 0) -> int:
    """A key of 128 bits that decides the order in which a peer draws."""
    content = b"%d,%d," % (seed, start) + identity
    return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")


def draws(key: int, *, start: int, count: int) -> NDArray[np.uint64]:
    """The numbers from ``start`` to ``start + count`` of a key's random sequence, shape [count]."""
    generator = np.random.Philox(key=key)
    # Philox computes its n-th block of four numbers from n, so any position is reached at once.
    generator.advance(start // 4)
    return generator.random_raw(start % 4 + count)[start % 4 :]


def _tensor(samples: TokenArray, *, pin: bool) -> torch.Tensor:
    tokens = torch.from_numpy(samples.astype(np.int64))
    return tokens.pin_memory() if pin else tokens
