"""What goes wrong with disks: a full one, and files with other bytes in them."""

import contextlib
import random


def noise(path, start=0, end=None):
    size = path.stat().st_size
    end = size if end is None else end
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(7).randbytes(end - start))


def fill(path):
    """Write until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
