"""Peak resident memory of this process, from a moment on; what the kernel killed for memory."""

import resource
from pathlib import Path

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
        """Say whether `peak_bytes` is the peak since the start, not an upper bound."""
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
