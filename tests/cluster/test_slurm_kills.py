"""Kills amid runs on Slurm, without and with storage that machines share, change no number.

Victims are the driver, workers, tasks, the controller and the node's daemon; with storage also
SeaweedFS.
"""

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from icckd.configuration import StorageSettings
from icckd.storage.opening import open_storage
from tests.cluster.kills import Site, outcome, quiet, storm
from tests.cluster.test_slurm import ON_SLURM
from tests.storage.servers import BUCKET, KEY, SECRET, server
from tests.support.desk import Desk
from tests.support.waiting import wait_for

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("ICCKD_SLURM_KILLS", "40"))
STORE_KILLS = int(os.environ.get("ICCKD_STORE_KILLS", "20"))


class OnSlurm(Site):
    where = "slurm"
    chances: ClassVar = {
        "driver": 3,
        "worker": 3,
        "task": 2,
        "controller": 2,
        "node": 2,
    }
    command = ON_SLURM

    def __init__(self, desk, draw, slurm):
        super().__init__(desk, draw)
        self.slurm = slurm

    def tend(self):
        self.slurm.resume_node()  # it is drained each time a controller forgot its tasks

    def processes(self, module):
        """Return the processes of this study that run a module."""
        mine, found = self.desk.environment["XDG_CONFIG_HOME"], []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if module in words and process.environ().get("XDG_CONFIG_HOME") == mine:
                    found.append(process)
        return found

    def kill_worker(self):
        servers = self.processes("icckd.run.worker_server")
        workers = [child for server in servers for child in server.children()]
        return self.kill_one(workers + self.processes("icckd.run.worker"))

    def kill_task(self):
        return self.kill_one(self.processes("icckd.run.task_bundle"))

    def kill_controller(self):
        self.slurm.kill_controller()
        time.sleep(self.draw.uniform(0, 4))
        self.slurm.start_controller()
        wait_for(lambda: self.slurm.call("sinfo", "-h", check=False), 40)
        return True

    def kill_node(self):
        self.slurm.kill_node()
        time.sleep(self.draw.uniform(0, 3))
        self.slurm.start_node()
        return True


class OnSlurmWithStore(OnSlurm):
    """Runs whose journals and artifacts go to a bucket, on a server that may be away."""

    where = "slurm and SeaweedFS"
    chances: ClassVar = {"store": 4, "driver": 1, "worker": 1, "task": 1, "controller": 0.5}

    def __init__(self, desk, draw, slurm, weed, root):
        super().__init__(desk, draw, slurm)
        self._weed, self._root = weed, root
        url = f"s3://{BUCKET}/{desk.folder.name}"
        self.storage = open_storage(StorageSettings(url=url, endpoint=weed.url))
        told = f'[storage]\nurl = "{url}"\nendpoint = "{weed.url}"\nseconds = 0.5\n'
        desk.state.mkdir()
        (desk.state / "config.toml").write_text(told + "takeover_seconds = 3.0\n")
        self._back: threading.Thread | None = None

    def kill_store(self):
        """Kill the server; it is back after a while, with all that it acknowledged."""
        if self._is_away() or self.session is None:
            return False
        acknowledged = self._segments()
        self._weed.kill()
        self._back = threading.Thread(target=self._weed.start)
        self._back.start()
        self._acknowledged = acknowledged
        return True

    def tend(self):
        super().tend()
        if self._back is not None and not self._is_away():
            self._back = None
            self._hold_against(self._acknowledged)

    def may_start(self):
        """A run that begins without storage is one error; it is told again when that is back."""
        return not self._is_away()

    def check(self):
        """Everything is in the bucket, and an empty machine that reads it sees the same."""
        if self._back is not None:
            self._back.join()
        stored = self._segments()
        for path in self.desk.state.glob("attempts/*/journal.jsonl"):
            assert stored[path.parent.name] == path.read_bytes()
        other = Desk(self._root / f"{self.desk.folder.name}-elsewhere")
        other.folder.mkdir()
        other.environment |= self.desk.environment
        other.state.mkdir()
        config = (self.desk.state / "config.toml").read_text()
        (other.state / "config.toml").write_text(config)
        assert other.run_apart("status").returncode == 0
        assert outcome(other.state).rows == outcome(self.desk.state).rows

    def _is_away(self):
        return self._back is not None and self._back.is_alive()

    def _segments(self) -> dict[str, bytes]:
        """Return what the bucket has of the journal of each attempt."""
        found: dict[str, bytes] = {}
        for entry in self.storage.list("journals/attempts"):
            attempt = Path(entry.key).parts[3]
            found[attempt] = found.get(attempt, b"") + (self.storage.get(entry.key) or b"")
        return found

    def _hold_against(self, acknowledged: dict[str, bytes]) -> None:
        stored = self._segments()
        for attempt, lines in acknowledged.items():
            assert stored[attempt].startswith(lines), f"the store lost lines of {attempt}"


@pytest.fixture
def expected(tmp_path, fresh_process):
    return quiet(Desk(tmp_path / "quiet"))


def test_kills_of_drivers_workers_tasks_controller_and_node_lose_and_double_nothing(
    slurm, slurm_desk, tmp_path, expected
):
    def site(number, draw):
        desk = Desk(tmp_path / f"run-{number}", environment=dict(slurm_desk.environment))
        return OnSlurm(desk, draw, slurm)

    storm(KILLS, expected, site)


def test_kills_of_the_store_beside_drivers_and_workers_lose_and_double_nothing(
    slurm, slurm_desk, tmp_path, expected, monkeypatch
):
    secrets = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    with server("weed", tmp_path / "weed") as weed:

        def site(number, draw):
            environment = {**slurm_desk.environment, **secrets}
            desk = Desk(tmp_path / f"run-{number}", environment=environment)
            return OnSlurmWithStore(desk, draw, slurm, weed, tmp_path)

        storm(STORE_KILLS, expected, site)
