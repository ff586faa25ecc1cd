"""What glibc does with memory that was freed: keep it for the next time, or give it back. Elsewhere (macOS, musl) nothing is done."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = 2**31 - 1
# Whoever sets one of them stops glibc from adapting the thresholds by itself, for good: these are what it ends with in a process that has
# used large blocks. With those it starts from, whatever comes after a training would be slow.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}


@contextmanager
def kept_heap() -> Iterator[None]:
    """Lets freed memory stay with the process for the block, and gives it back to the system after it.

    Every step of a training on the CPU needs the same large blocks. glibc asks the system for each and gives it back, and the system fills
    each with zeros, page by page: half the time of a step where the network is all small layers.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        for parameter, value in _USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def trim_heap() -> None:
    """Gives freed memory back to the system, as after reading a large file in pieces, of which glibc keeps much."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> Any:
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):
        return None
