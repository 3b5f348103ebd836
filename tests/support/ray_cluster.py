"""A Ray cluster of several nodes on this machine, in a network of its own.

A process holds the cluster (`python -m tests.support.ray_cluster`), told by lines on its standard
input; a network namespace keeps it from everything else: nothing but its own loopback is there.
"""

import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
CLONE_NEWNET = 0x40000000
QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
"""A node that is gone is known in two seconds."""
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def need_ray() -> None:
    """Skip, and say why, where Ray or a network of one's own is missing."""
    missing = [
        what
        for what, is_there in (
            ("Ray (pip install 'icckd[ray]')", importlib.util.find_spec("ray")),
            ("the command `ip`", shutil.which("ip")),
            ("root, for a network namespace", os.geteuid() == 0),
        )
        if not is_there
    ]
    if missing:
        pytest.skip(f"NOT SHOWN: the executor ray. Missing: {', '.join(missing)}")


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Be in a network of nothing but loopback, with what this thread starts from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        if libc.unshare(CLONE_NEWNET):
            pytest.skip(f"NOT SHOWN: the executor ray. unshare: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert libc.setns(before.fileno(), CLONE_NEWNET) == 0


@dataclass
class RayCluster:
    """The process that holds a cluster. Nodes have numbers; 0 is the head, which takes no task."""

    process: subprocess.Popen
    address: str
    nodes: list[int] = field(default_factory=list)

    def add_node(self, cpus: int = 1, resource: str = "") -> int:
        self.nodes.append(self._ask("add", cpus, resource))
        return self.nodes[-1]

    def remove_node(self, number: int) -> None:
        """Let a node die: its processes are killed, and nobody is told."""
        self.nodes.remove(number)
        self._ask("remove", number)

    def kill_head(self) -> None:
        """Kill what only the head node has: the control service."""
        for each in psutil.Process(self.process.pid).children(recursive=True):
            if each.name() == "gcs_server":
                each.kill()

    def raylet(self, number: int) -> psutil.Process:
        """Return the process of a node whose children are its workers."""
        return psutil.Process(self._ask("pid", number))

    def busy(self) -> dict[int, psutil.Process]:
        """Return, by node, a process of Ray that carries out a task of icckd just now."""
        found = {}
        for number in self.nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                for each in self.raylet(number).children():
                    if "ray::icckd" in " ".join(each.cmdline()):
                        found[number] = each
        return found

    def workers(self) -> list[psutil.Process]:
        """Return the processes that train, or wait to, on all nodes."""
        found = []
        for number in self.nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                servers = [s for task in self.raylet(number).children() for s in task.children()]
                found += [worker for server in servers for worker in server.children()]
        return found

    def _ask(self, *words: object) -> int:
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextlib.contextmanager
def ray_cluster(*nodes: int) -> Iterator[RayCluster]:
    """Have a cluster with a head and nodes of so many CPUs; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.ray_cluster"],
        cwd=ROOT, env={**os.environ, **VARIABLES}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        cluster = RayCluster(process, json.loads(process.stdout.readline()))
        for cpus in nodes:
            cluster.add_node(cpus)
        yield cluster
    finally:
        everything = psutil.Process(process.pid).children(recursive=True)
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for each in (*everything, process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.stdout.close()
        process.wait()


def hold() -> None:
    """Hold a cluster until standard input ends."""
    out, sys.stdout = sys.stdout, sys.stderr
    from ray.cluster_utils import Cluster

    small = {"include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **small, "num_cpus": 0, "node_ip_address": "127.0.0.1",
            "_system_config": QUICK_TO_NOTICE,
        },
    )  # fmt: skip
    nodes = [cluster.head_node]
    print(json.dumps(cluster.address), file=out, flush=True)
    for line in sys.stdin:
        what, number, *more = json.loads(line)
        if what == "add":
            own = {"resources": {more[0]: 1}} if more[0] else {}
            nodes.append(cluster.add_node(num_cpus=number, object_store_memory=80 << 20, **own))
            number = len(nodes) - 1
        elif what == "remove":
            cluster.remove_node(nodes[number], allow_graceful=False)
        elif what == "pid":
            [raylet] = nodes[number].all_processes["raylet"]
            number = raylet.process.pid
        print(json.dumps(number), file=out, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    hold()
