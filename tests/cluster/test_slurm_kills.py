"""Kills at random moments, over all that takes part in a study on Slurm, change no number.

Victims are the driver, a worker, a task, the controller and the node's daemon; a task may also be
requeued in its middle. ICCKD_TEST_KILLS says how many, by default 20; ICCKD_TEST_SEED draws others.
"""

import contextlib
import os
import random
import signal
import time
from collections import Counter

import psutil
import pytest

from tests.cluster.outcomes import artifacts, attempts_by_stage, complete_once
from tests.cluster.test_slurm import ON_SLURM
from tests.support.desk import Desk
from tests.support.studies import BY_ITSELF, two_stages
from tests.support.waiting import wait_for

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("ICCKD_TEST_KILLS", "20"))
SEED = int(os.environ.get("ICCKD_TEST_SEED", "1"))
STUDY = two_stages("killed", seeds=3, teacher=60, student=20) + BY_ITSELF
MOST_SECONDS = 300.0
"""A study takes less, however often it was killed; later kills meet the next one."""


class Round:
    """A study that is run until it is complete, whatever is killed meanwhile."""

    def __init__(self, desk, slurm, draw):
        self.desk, self.slurm, self.draw = desk, slurm, draw
        self.driver = None
        self.killed = Counter()

    def keep_driving(self):
        """Have a driver; return whether the study is complete."""
        if self.driver is not None and self.driver.poll() is not None:
            code = self.driver.returncode
            out, err = self.driver.communicate()
            assert code in (0, 1, 4, -signal.SIGKILL), (code, out, err)
            if code == 0:
                return True
            self.driver = None
        if self.driver is None:
            self.driver = self.desk.start("run", "small.toml", *ON_SLURM)
        return False

    def processes(self, module):
        """Return the processes of this study that run a module."""
        mine = self.desk.environment["XDG_CONFIG_HOME"]
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if module in words and process.environ().get("XDG_CONFIG_HOME") == mine:
                    found.append(process)
        return found

    def kill_something(self):
        victim = self.draw.choice(("driver", "worker", "task", "controller", "node", "requeue"))
        kill = getattr(self, f"_kill_{victim}")
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if kill():
                self.killed[victim] += 1

    def _kill_driver(self):
        if self.driver is None or self.driver.poll() is not None:
            return False
        self.driver.kill()
        self.driver.communicate()
        return True

    def _kill_worker(self):
        servers = self.processes("icckd.run.worker_server")
        workers = [child for server in servers for child in server.children()]
        return self._kill_one(workers + self.processes("icckd.run.worker"))

    def _kill_task(self):
        return self._kill_one(self.processes("icckd.run.task_bundle"))

    def _kill_one(self, processes):
        if processes:
            self.draw.choice(processes).kill()
        return bool(processes)

    def _kill_controller(self):
        self.slurm.kill_controller()
        time.sleep(self.draw.uniform(0, 4))
        self.slurm.start_controller()
        wait_for(lambda: self.slurm.call("sinfo", "-h", check=False), 40)
        return True

    def _kill_node(self):
        self.slurm.kill_node()
        time.sleep(self.draw.uniform(0, 3))
        self.slurm.start_node()
        return True

    def _kill_requeue(self):
        running = self.slurm.running()
        if running:
            self.slurm.call("scontrol", "requeue", self.draw.choice(running), check=False)
        return bool(running)


@pytest.fixture
def expected(tmp_path, fresh_process):
    desk = Desk(tmp_path / "local")
    desk.folder.mkdir()
    desk.train("run", desk.write(STUDY), "--device", "cpu")
    return artifacts(desk.state)


def test_kills_at_random_moments_change_no_number_and_complete_each_stage_once(
    slurm, slurm_desk, tmp_path, expected
):
    draw, done = random.Random(SEED), Counter()  # moments, no secrets
    rounds = 0
    while done.total() < KILLS:
        rounds += 1
        desk = Desk(tmp_path / f"round-{rounds}", environment=dict(slurm_desk.environment))
        desk.folder.mkdir()
        desk.write(STUDY)
        desk.environment["ICCKD_CHECKPOINT_SECONDS"] = "0"
        each = Round(desk, slurm, draw)
        end = time.monotonic() + MOST_SECONDS
        next_kill = time.monotonic() + draw.uniform(1, 8)
        while not each.keep_driving():
            assert time.monotonic() < end, (rounds, each.killed, attempts_by_stage(desk.state))
            if time.monotonic() >= next_kill and done.total() + each.killed.total() < KILLS:
                each.kill_something()
                next_kill = time.monotonic() + draw.uniform(1, 8)
            slurm.resume_node()
            time.sleep(0.3)
        done += each.killed
        print(f"round {rounds}: {dict(each.killed)}, in all {done.total()} of {KILLS}", flush=True)
        assert artifacts(desk.state) == expected
        assert complete_once(desk.state), attempts_by_stage(desk.state)
        assert desk.run_apart("fsck").returncode == 0
