"""Wait for what another process does, and fail when it does not happen."""

import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], object], seconds: float = 60.0, process: Any = None) -> None:
    """Wait until a condition holds; fail after `seconds`, or when a process ends before that."""
    end = time.monotonic() + seconds
    while not condition():
        if process is not None:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
