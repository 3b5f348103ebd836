"""This machine and its processes: CPUs, memory, file systems, and samples for the monitor."""

import os
import platform
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icckd.resources.gpus import GpuSample, gpu_memory_by_process, sample_gpus

# CPUs that this process may really use.

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """Return the whole CPUs that affinity and cgroup quotas (v1 and v2) leave, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    quota = cgroup_quota(CGROUP_ROOT, MEMBERSHIP)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def cpu_model() -> str:
    """Return the model of the processor, or its architecture where the system does not tell."""
    lines = (_read(Path("/proc/cpuinfo")) or "").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def cgroup_quota(root: Path, membership: Path) -> float | None:
    """Return the smallest CPU quota of this process's cgroup and its ancestors, in CPUs.

    Args:
        root: Mount point of the cgroup file system.
        membership: The process's list of cgroups, lines of `hierarchy:controllers:path`.

    Returns:
        CPUs, or None where no quota is set or readable.
    """
    quotas = [_folder_quota(folder) for folder in _cgroup_folders(root, membership)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _cgroup_folders(root: Path, membership: Path, controller: str = "cpu") -> list[Path]:
    text = _read(membership) or ""
    folders: list[Path] = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controllers if (root / controllers).is_dir() else root / controller
        inner = Path(path.lstrip("/"))
        folders += [mount / inner, *(mount / parent for parent in inner.parents)]
    return folders


def _folder_quota(folder: Path) -> float | None:
    unified = _read(folder / "cpu.max")
    if unified is not None:
        quota, _, period = unified.strip().partition(" ")
        return None if quota == "max" else int(quota) / int(period)
    quota_v1 = _read(folder / "cpu.cfs_quota_us")
    period_v1 = _read(folder / "cpu.cfs_period_us")
    if quota_v1 is None or period_v1 is None or int(quota_v1) <= 0:
        return None
    return int(quota_v1) / int(period_v1)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


# Memory that processes may still take.


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLeft:
    """Bytes that are free, and of how many."""

    free: int
    total: int


def memory_left(root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> MemoryLeft:
    """Return what the machine, and the control groups (v1 and v2) of this process, leave free.

    Args:
        root: Mount point of the cgroup file system.
        membership: The process's list of cgroups, lines of `hierarchy:controllers:path`.
    """
    import psutil

    memory = psutil.virtual_memory()
    found = [MemoryLeft(free=int(memory.available), total=int(memory.total))]
    for folder in _cgroup_folders(root, membership, "memory"):
        for limit, used, cached in _MEMORY_FILES:
            if left := _left_of(folder, limit, used, cached):
                found.append(left)
    return min(found, key=lambda each: each.free)


_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""By version of control groups: limit, use, and what of the use is files that can be dropped."""


def _left_of(folder: Path, limit: str, used: str, cached: str) -> MemoryLeft | None:
    most, now = _read(folder / limit), _read(folder / used)
    if most is None or now is None or not most.strip().isdecimal():
        return None
    lines = (line.split() for line in (_read(folder / "memory.stat") or "").splitlines())
    dropped = next((int(words[1]) for words in lines if words[:1] == [cached]), 0)
    total = int(most)
    return MemoryLeft(free=max(0, min(total, total - int(now) + dropped)), total=total)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children; 0 where there is none.

    What several of them share is counted for each.
    """
    fields = (_read(Path(f"/proc/{pid}/statm")) or "").split() if pid else []
    if len(fields) < 2:
        return 0
    own = int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    lists = (_read(path) or "" for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return own + sum(resident_bytes(int(child)) for text in lists for child in text.split())


# Peak resident memory of this process since a moment; what the kernel killed for memory.

PROC = Path("/proc/self")
VMSTAT = Path("/proc/vmstat")


class PeakMemory:
    """The peak resident memory since this object was made, in bytes.

    Linux resets its high-water mark when 5 is written to `/proc/self/clear_refs` (proc(5)). Where
    that is not permitted the peak of the whole life of the process is reported, an upper bound,
    and `is_exact` is false unless that peak rose since.
    """

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._was_reset = _reset(proc)
        self._before = _lifetime_peak()

    @property
    def is_exact(self) -> bool:
        """Whether `peak_bytes` is the peak since the start, not an upper bound."""
        return self._was_reset or _lifetime_peak() > self._before

    def peak_bytes(self) -> int:
        """Return the peak resident memory."""
        return _high_water_mark(self._proc) if self._was_reset else _lifetime_peak()


def _reset(proc: Path) -> bool:
    try:
        (proc / "clear_refs").write_text("5")
        _high_water_mark(proc)
    except (OSError, LookupError):
        return False
    return True


def _high_water_mark(proc: Path) -> int:
    for line in (proc / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{proc}/status has no VmHWM line")


def _lifetime_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def oom_kills(vmstat: Path = VMSTAT) -> int:
    """Return how many processes of this machine the kernel killed for memory since its boot.

    Limits of control groups count too. 0 where the kernel does not say.
    """
    try:
        lines = vmstat.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


# The kind of file system that a folder is on: flock and append are reliable on local ones only.

NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gfs2", "gpfs", "lustre",
     "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs",
     "vboxsf", "vmhgfs", "wekafs",
     "fuse.ceph", "fuse.ceph-fuse", "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse",
     "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.moosefs", "fuse.mount-s3",
     "fuse.rclone", "fuse.s3fs", "fuse.seaweedfs", "fuse.sshfs", "fuse.vmhgfs-fuse"}
)  # fmt: skip
"""File systems whose data another machine, or the host of a virtual one, may change too."""


def network_file_system(folder: Path) -> str:
    """Return the kind of the network file system that a folder is on, or "" on a local one.

    The folder need not exist. "" too where the system does not list its mounts.
    """
    import psutil

    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:
        return ""
    home, depth, kind = Path(os.path.realpath(folder)), -1, ""
    for mount in mounts:
        point = Path(mount.mountpoint)
        if home.is_relative_to(point) and len(point.parts) >= depth:  # the later of equals is seen
            depth, kind = len(point.parts), mount.fstype
    return kind if kind in NETWORK else ""


# A sample of the machine for the screen.


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


# What single processes of this machine use.


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
    """Samples processes; keeps their handles, because a CPU share needs an earlier sample."""

    def __init__(self) -> None:
        self._handles: dict[int, Any] = {}

    def sample(self, pids: Iterable[int]) -> tuple[ProcessSample, ...]:
        """Return a sample of each process that exists, in the order given."""
        import psutil

        wanted = list(pids)
        on_gpus = gpu_memory_by_process() if wanted else {}
        self._handles = {pid: self._handles[pid] for pid in wanted if pid in self._handles}
        samples = []
        for pid in wanted:
            try:
                handle = self._handles.setdefault(pid, psutil.Process(pid))
                with handle.oneshot():
                    share, memory = handle.cpu_percent(interval=None), handle.memory_info().rss
            except psutil.Error:
                self._handles.pop(pid, None)
                continue
            samples.append(
                ProcessSample(
                    pid=pid, cpu=float(share), memory=int(memory), gpu_memory=on_gpus.get(pid)
                )
            )
        return tuple(samples)
