"""Memory of a training on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's parameters of mallopt(3), and its limit of mapped blocks when nothing else is said.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_USUAL_MMAP_MAX, _USUAL_TRIM_THRESHOLD = 65536, 128 * 1024
_NEVER = 2**31 - 1


@contextmanager
def kept_heap() -> Iterator[None]:
    """Lets freed memory stay with the process for the block, and gives it back to the system after it.

    Every step of a training needs the same large blocks. glibc asks the system for each and gives it back, and the system fills each
    with zeros, page by page: half the time of a step where the network is all small layers. Without glibc (macOS, musl) nothing is done.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt, malloc_trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        yield
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
        mallopt(_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)
        malloc_trim(0)
