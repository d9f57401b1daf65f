"""The C library's heap: kept between steps, given back to the system in a pause.

Each step frees what the next one allocates again. glibc returns the top of the heap to the
kernel as soon as it is free, and the kernel clears every page of it again for the next step: some
hundred thousand page faults a second, a fifth of the CPU time. Other C libraries are left as they
are.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``, from ``malloc.h``."""

_KEPT = 2**31 - 1
"""Bytes of free heap that glibc keeps: the largest number that ``mallopt`` takes."""

_MAPPED_FROM = 32 * 2**20
"""Bytes: the largest value that glibc allows. A larger block is no part of the heap: it is mapped
by itself, and unmapped when it is freed."""


def keep() -> None:
    """Keep freed memory for the next step."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_MMAP_THRESHOLD, _MAPPED_FROM)


def give_back() -> None:
    """Return the free memory to the system."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
