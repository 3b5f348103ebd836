"""How many CPUs this process may really use."""

import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """Return the whole CPUs that affinity and cgroup quotas (v1 and v2) leave, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    quota = cgroup_quota(CGROUP_ROOT, MEMBERSHIP)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


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


def _cgroup_folders(root: Path, membership: Path) -> list[Path]:
    text = _read(membership) or ""
    folders: list[Path] = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / controllers if (root / controllers).is_dir() else root / "cpu"
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
