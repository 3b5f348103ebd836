"""A sample of the machine for the screen."""

import os
from dataclasses import dataclass
from pathlib import Path

from icckd.resources.gpus import GpuSample, sample_gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSample:
    """The machine at one moment: shares in percent, sizes in bytes."""

    cpu: float
    load: float
    memory_used: int
    memory_total: int
    disk_free: int
    disk_total: int
    gpus: tuple[GpuSample, ...]


def sample_host(folder: Path) -> HostSample:
    """Return a sample; `folder` says whose disk is meant.

    The CPU share is the mean of all CPUs since the previous call in this process; the first call
    has nothing to compare with and gives 0. The load is that of the last minute.
    """
    import psutil

    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(folder))
    return HostSample(
        cpu=float(psutil.cpu_percent(interval=None)),
        load=os.getloadavg()[0],
        memory_used=int(memory.total - memory.available),
        memory_total=int(memory.total),
        disk_free=int(disk.free),
        disk_total=int(disk.total),
        gpus=sample_gpus(),
    )
