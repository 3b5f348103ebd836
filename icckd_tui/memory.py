"""Memory that was freed goes back to the machine, on which somebody trains."""

_LARGE = 1 << 20  # bytes
_M_MMAP_THRESHOLD = -3  # of mallopt(3)


def return_large_blocks() -> None:
    """Have the C library return large blocks when they are freed.

    The GNU library keeps freed arrays of up to 32 MB for later; with curves of 100,000 points that
    was 50 MB of nothing. Other libraries are left as they are.
    """
    import ctypes  # not for the first paint

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
