"""Kills amid runs on a Ray cluster: nothing that was acknowledged is lost, doubled or wrong.

`ICCKD_RAY_KILLS` says how many, `ICCKD_STORM_SEED` which.
"""

import json
import os
import random
from collections import Counter

import psutil
import pytest

from icckd.journal.file import read_chunk
from tests.cluster.test_ray import EPOCHS, completed_twice, digests, on_ray
from tests.support.desk import Desk, wait_for_epochs
from tests.support.ray_cluster import need_ray, own_network, ray_cluster
from tests.support.studies import SMALL

KILLS = int(os.environ.get("ICCKD_RAY_KILLS", "10"))
VICTIMS = ("session", "driver", "task", "worker", "node")


def acknowledged(desk):
    """Return the lines of every journal of an attempt so far, by attempt."""
    return {
        path.parent.name: [line.body for line in read_chunk(path).lines]
        for path in (desk.state / "attempts").glob("*/journal.jsonl")
    }


def kill(victim, session, cluster):
    """Kill one process, or let a node go and another one come; return whether there was any."""
    ours = psutil.Process(session.pid).children()
    drivers = [each for each in ours if "icckd.run.ray_driver" in each.cmdline()]
    busy = cluster.busy()
    if victim == "session":
        session.kill()
    elif victim == "driver" and drivers:
        drivers[0].kill()
    elif victim == "task" and busy:
        next(iter(busy.values())).kill()
    elif victim == "worker" and busy:
        server = next(iter(busy.values())).children()
        workers = [child for each in server for child in each.children()]
        for each in workers[:1]:
            each.kill()
        return bool(workers)
    elif victim == "node" and busy:
        cluster.remove_node(next(iter(busy)))
        cluster.add_node()
    else:
        return False
    return True


@pytest.mark.long
def test_kills_of_sessions_drivers_tasks_workers_and_nodes_lose_and_double_nothing(
    tmp_path, fresh_process
):
    need_ray()
    chance = random.Random(int(os.environ.get("ICCKD_STORM_SEED", "1")))
    here = Desk(tmp_path / "here")
    here.folder.mkdir()
    here.write(SMALL)
    here.train("run", "small.toml", "--device", "cpu", *EPOCHS)
    kills = Counter()
    with own_network(), ray_cluster(1, 1) as cluster:
        while kills.total() < KILLS:
            desk = Desk(tmp_path / f"run-{kills.total()}")
            desk.folder.mkdir()
            desk.environment["ICCKD_CHECKPOINT_SECONDS"] = "0"
            desk.write(SMALL)
            code = None
            while code != 0:
                session = desk.start(*on_ray(cluster.address, *EPOCHS))
                while wait_for_epochs(desk, session, chance.randrange(5, 40)):
                    victim = chance.choice(VICTIMS)
                    before = acknowledged(desk)
                    if kills.total() < KILLS and kill(victim, session, cluster):
                        kills[victim] += 1
                    after = acknowledged(desk)
                    for attempt, lines in before.items():
                        assert after[attempt][: len(lines)] == lines
                session.communicate(timeout=120)
                code = session.returncode
            assert digests(desk) == digests(here)
            assert completed_twice(desk) == []
            assert "whole" in desk.run_apart("fsck").stdout
            print(json.dumps(kills))
