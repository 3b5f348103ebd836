"""Memory that was freed goes back to the machine, on which somebody trains."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGE = 4 << 20
"""Bytes; below it, drawing would ask the kernel for its arrays at each frame (13 ms, not 8)."""
_KEPT = 16 << 20


def return_large_blocks() -> None:
    """Have the C library return large blocks when they are freed, and keep little of the others.

    The GNU library keeps freed arrays of up to 32 MB for later; with curves of 100,000 points that
    was 50 MB of nothing. It must be told before there are any. Other libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
