"""Keeping freed memory in the process between steps."""

from __future__ import annotations

import contextlib
import ctypes
import sys

#: Parameters of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let glibc keep what is freed instead of giving it back to the system; elsewhere nothing.

    A training step frees and takes the same gigabyte again. Memory that the system has taken back
    comes as new pages, and clearing those costs more than many layers' arithmetic
    (docs/performance.md).
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library, musl for one
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
