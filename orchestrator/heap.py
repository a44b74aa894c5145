"""One heap for all threads, which gives back what is free."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_… of glibc's malloc.h
_LARGE = 1 << 20  # bytes


def share() -> None:
    """From now on all threads of this process allocate from one heap, where the C library knows of more (glibc).

    It gives each thread a heap of its own, up to eight for a core, and what ended jobs freed in theirs stays with the
    process; and each large block that is freed raises the size from which blocks are given back, up to 32 MB. Measured
    with `make soak`, the same objects at both times: 88.5 MB after 200 items and 104 after 500 without this, 77 and 80
    with it.
    """
    with contextlib.suppress(OSError, AttributeError):  # musl, macOS
        tune = ctypes.CDLL(None).mallopt
        tune(_ARENA_MAX, 1)
        tune(_MMAP_THRESHOLD, _LARGE)
        tune(_TRIM_THRESHOLD, _LARGE)
