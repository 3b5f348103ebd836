"""What single processes of this machine use."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from icckd.resources.gpus import gpu_memory_by_process


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSample:
    """One process at one moment.

    Its CPU share in percent of one CPU, resident memory in bytes, and GPU memory in bytes; None
    where NVML does not show the process.
    """

    pid: int
    cpu: float
    memory: int
    gpu_memory: int | None


class ProcessSampler:
    """Samples processes; keeps their handles, for a CPU share needs an earlier look."""

    def __init__(self) -> None:
        self._handles: dict[int, Any] = {}

    def sample(self, pids: Iterable[int]) -> tuple[ProcessSample, ...]:
        """Return a sample of each process that exists, in the order given."""
        import psutil

        wanted = list(pids)
        on_gpus = gpu_memory_by_process() if wanted else {}
        self._handles = {pid: self._handles[pid] for pid in wanted if pid in self._handles}
        found = []
        for pid in wanted:
            try:
                handle = self._handles.setdefault(pid, psutil.Process(pid))
                with handle.oneshot():
                    share, memory = handle.cpu_percent(interval=None), handle.memory_info().rss
            except psutil.Error:
                self._handles.pop(pid, None)
                continue
            found.append(
                ProcessSample(
                    pid=pid, cpu=float(share), memory=int(memory), gpu_memory=on_gpus.get(pid)
                )
            )
        return tuple(found)
