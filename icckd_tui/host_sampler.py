"""Samples of the machine, about one a second; one that fails disturbs nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from icckd_tui.view_model.host import Host

if TYPE_CHECKING:
    from icckd.resources import HostSample

EVERY_SECONDS = 1.0
HISTORY = 60  # samples that are kept
MOST_FAILURES = 5  # in a row, after which the last sample is too old to be shown


class HostSampler:
    """Takes a sample when it is time to; belongs to one thread."""

    def __init__(
        self, sample: Callable[[], HostSample], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sample = sample
        self._clock = clock
        self._next = clock()
        self._history: deque[float] = deque(maxlen=HISTORY)
        self._primed = False
        self._failures = 0

    def take(self) -> Host | None:
        """Return what is new, or None: it is too early, or the sample failed.

        The first sample is not shown: its CPU share has nothing to compare with.
        """
        if self._clock() < self._next:
            return None
        self._next = self._clock() + EVERY_SECONDS
        try:
            sample = self._sample()
        except Exception:
            self._failures += 1
            return Host(sample=None) if self._failures == MOST_FAILURES else None
        self._failures = 0
        if not self._primed:
            self._primed = True
            return None
        self._history.append(sample.cpu)
        return Host(sample=sample, history=tuple(self._history))
