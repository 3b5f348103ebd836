"""A real Slurm of one host: munge, controller and node below one folder.

Its ports are fixed and bound to 127.0.0.1, so that two at once need a network each; `own_network`
of `tests/cluster/conftest.py` sees to that.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.support.waiting import wait_for

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
TEMPLATE = Path(__file__).with_name("slurm.conf.in")


def missing() -> str:
    """Return what is missing for a Slurm here; "" where nothing is."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if absent:
        return f"{', '.join(absent)} (apt-get install slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "root"


class TestSlurm:
    """A Slurm below a folder whose path is short: sockets have names of at most 108 letters."""

    __test__ = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf = root / "slurm.conf"
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": path}

    def start(self) -> None:
        for name in ("munge", "state", "spool"):
            (self.root / name).mkdir(mode=0o755)
        (self.root / "state").chmod(0o700)
        key = self.root / "munge" / "key"
        key.write_bytes(os.urandom(64))
        key.chmod(0o400)
        text = TEMPLATE.read_text().replace("@ROOT@", str(self.root))
        self.conf.write_text(text.replace("@HOST@", socket.gethostname()))
        munge = self.root / "munge"
        self.call(
            "munged", f"--key-file={munge}/key", f"--socket={munge}/munge.socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
            "--num-threads=2", "--force",
        )  # fmt: skip
        self.start_controller()
        self.start_node()
        wait_for(lambda: "idle" in self.call("sinfo", "-h", "-N", "-o", "%T", check=False), 30)

    def call(self, *words: str, check: bool = True) -> str:
        """Run a command; return what it printed."""
        done = subprocess.run(
            words, env=self.environment, text=True, timeout=30, check=False,
            capture_output=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def start_controller(self) -> None:
        self.call("slurmctld", "-i", "-f", str(self.conf))

    def start_node(self) -> None:
        self.call("slurmd", "-N", "n1", "-f", str(self.conf))

    def kill_node(self) -> None:
        """Kill its daemon by signal 9; tasks go on."""
        pid = self._pid("slurmd.pid")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _is_alive(pid), 10)

    def kill_controller(self) -> None:
        """Kill it by signal 9, and wait until it is gone."""
        pid = self._pid("slurmctld.pid")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _is_alive(pid), 10)

    def resume_node(self) -> None:
        """Have the node take tasks again; it is drained after a controller forgot its tasks."""
        self.call("scontrol", "update", "nodename=n1", "state=resume", check=False)

    def states(self) -> list[str]:
        """Return the state of each task that Slurm knows."""
        return self.call("squeue", "-h", "-r", "--states=all", "-o", "%T", check=False).split()

    def running(self) -> list[str]:
        """Return the tasks that run, as `17_3`."""
        return self.call("squeue", "-h", "-r", "--states=RUNNING", "-o", "%i").split()

    def restarts(self) -> int:
        """Return how often tasks were started again, in all."""
        told = self.call("squeue", "-h", "-r", "--states=all", "-O", "RestartCnt:.6").split()
        return sum(map(int, told))

    def stop(self) -> None:
        self.call("scancel", "-u", "root", check=False)
        pids = [self._pid(name) for name in ("slurmd.pid", "slurmctld.pid", "munge/pid")]
        for pid in filter(None, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 10
        while any(pid and _is_alive(pid) for pid in pids):
            if time.monotonic() >= end:
                for pid in filter(None, pids):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _pid(self, name: str) -> int:
        try:
            return int((self.root / name).read_text())
        except (OSError, ValueError):
            return 0


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for is over."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "\nState:\tZ" not in text
