"""Samples of the machine, about one a second; one that fails disturbs nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from icckd_tui.view_model.host import Host

if TYPE_CHECKING:
    from icckd.resources import HostSample, ProcessSample
    from icckd_tui.view_model.host import ProcessHistory

EVERY_SECONDS = 1.0
HISTORY = 600  # samples that are kept
PROCESS_HISTORY = 60  # of each process
MOST_FAILURES = 5  # in a row, after which the last sample is too old to be shown


class HostSampler:
    """Takes a sample when it is time to; belongs to one thread."""

    def __init__(
        self,
        sample: Callable[[], HostSample],
        processes: Callable[[Sequence[int]], tuple[ProcessSample, ...]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sample = sample
        self._sample_processes = processes
        self._clock = clock
        self._next = clock()
        self._past: deque[HostSample] = deque(maxlen=HISTORY)
        self._pids: tuple[int, ...] = ()
        self._processes: dict[int, deque[ProcessSample]] = {}
        self._primed = False
        self._failures = 0

    def watch(self, pids: tuple[int, ...]) -> None:
        """Sample these processes from now on."""
        self._pids = pids

    def take(self) -> Host | None:
        """Return what is new, or None: it is too early, or the sample failed.

        The first sample is not shown: its CPU share has nothing to compare with.
        """
        if self._clock() < self._next:
            return None
        self._next = self._clock() + EVERY_SECONDS
        try:
            sample = self._sample()
            processes = self._look_at_processes()
        except Exception:
            self._failures += 1
            return Host(sample=None) if self._failures == MOST_FAILURES else None
        self._failures = 0
        if not self._primed:
            self._primed = True
            return None
        self._past.append(sample)
        return Host(sample=sample, past=tuple(self._past), processes=processes)

    def _look_at_processes(self) -> tuple[ProcessHistory, ...]:
        found = self._sample_processes(self._pids) if self._sample_processes else ()
        kept = {sample.pid: self._processes.get(sample.pid) for sample in found}
        self._processes = {pid: past or deque(maxlen=PROCESS_HISTORY) for pid, past in kept.items()}
        for sample in found:
            self._processes[sample.pid].append(sample)
        return tuple(tuple(self._processes[sample.pid]) for sample in found)
