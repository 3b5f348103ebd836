"""Which machine, since which boot, which process: what tells a dead writer from a living one."""

from pathlib import Path


def boot_id() -> str:
    """Return an identifier of this machine's current boot, or "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
