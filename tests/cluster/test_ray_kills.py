"""Kills amid runs on a Ray cluster: nothing that was acknowledged is lost, doubled or wrong."""

import contextlib
import os
import time
from typing import ClassVar

import psutil
import pytest

from tests.cluster.kills import Site, quiet, storm
from tests.cluster.test_ray import AT_ONCE, on_ray
from tests.support.desk import Desk
from tests.support.ray_cluster import need_ray, own_network, ray_cluster

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("ICCKD_RAY_KILLS", "40"))


class Clusters:
    """A cluster at a time; one whose head died is replaced."""

    def __init__(self):
        self._held = contextlib.ExitStack()
        self.renew()

    def renew(self):
        self._held.close()
        self.now = self._held.enter_context(ray_cluster(1, 1))

    def close(self):
        self._held.close()


class OnRay(Site):
    where = "ray"
    chances: ClassVar = {
        "driver": 2,
        "ray driver": 2,
        "worker": 3,
        "task": 2,
        "node": 3,
        "head": 0.3,
    }

    def __init__(self, desk, draw, clusters):
        super().__init__(desk, draw)
        self._clusters = clusters

    @property
    def command(self):
        return on_ray(self._clusters.now.address)[2:]

    def kill_ray_driver(self):
        ours = psutil.Process(self.session.pid).children() if self.session else []
        return self.kill_one([each for each in ours if "icckd.run.ray_driver" in each.cmdline()])

    def kill_task(self):
        return self.kill_one(list(self._clusters.now.busy().values()))

    def kill_worker(self):
        return self.kill_one(self._clusters.now.workers())

    def kill_node(self):
        """Let a node that has a task go, and another one come."""
        busy = self._clusters.now.busy()
        if busy:
            self._clusters.now.remove_node(self.draw.choice(list(busy)))
            self._clusters.now.add_node()
        return bool(busy)

    def kill_head(self):
        """Kill what only the head node has; the run ends with one error, and a cluster comes."""
        if self.session is None or not self._clusters.now.busy():
            return False
        self._clusters.now.kill_head()
        start = time.monotonic()
        self.session.wait(120)
        assert time.monotonic() - start < AT_ONCE + 10
        self._clusters.renew()
        return True


@pytest.fixture
def clusters():
    need_ray()
    with own_network():
        made = Clusters()
        try:
            yield made
        finally:
            made.close()


def test_kills_of_drivers_tasks_workers_nodes_and_the_head_lose_and_double_nothing(
    tmp_path, fresh_process, clusters
):
    expected = quiet(Desk(tmp_path / "quiet"))
    storm(KILLS, expected, lambda n, draw: OnRay(Desk(tmp_path / f"run-{n}"), draw, clusters))
