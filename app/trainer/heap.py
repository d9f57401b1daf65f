"""The C library's heap, kept between steps and given back in a pause.

Each step frees what the next one allocates again. glibc returns the top of the heap to the
kernel as soon as it is free, and the kernel then clears every page anew: some hundred thousand
faults a second, a fifth of the time on the CPU. Other C libraries are left as they are.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``, from ``malloc.h``."""

_KEPT = 2**31 - 1
"""Bytes: the most that ``mallopt`` takes."""

_MAPPED_FROM = 32 * 2**20
"""Bytes: the largest that glibc allows. What is larger is mapped by itself, and unmapped."""


def keep() -> None:
    """Keep what is freed for the next step."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_MMAP_THRESHOLD, _MAPPED_FROM)


def give_back() -> None:
    """Return to the system what is free now."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
