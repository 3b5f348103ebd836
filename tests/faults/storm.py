"""Start processes on a state folder, kill them, and hold what is left against what was promised."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import pytest

from icckd.journal.artifacts import verified
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.owner import owner_lock
from icckd.results.store import Store
from tests.faults.roles import METRICS, VALUE_SQL, Acks

HERE = Path(__file__).parent


@cache
def shim() -> Path:
    """Return the compiled shim; skip the test where nothing compiles C."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: faults below a process need one")
    target = Path(f"/tmp/icckd-fault-shim-{os.getuid()}-{os.getpid()}.so")
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", target, HERE / "shim.c", "-ldl"], check=True
    )
    return target


class Nursery:
    """Forks processes that play a role on one state folder."""

    def __init__(
        self, folder: StateFolder, acks: Path, *, faults: bool = False, script: str = "roles"
    ) -> None:
        self.folder, self.acks = folder, acks
        acks.mkdir(exist_ok=True)
        preload = {"LD_PRELOAD": str(shim())} if faults else {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.faults.{script}"], cwd=HERE.parents[1], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **preload, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        self.pids: list[int] = []

    def start(self, role, *arguments, fault=None) -> int:
        order = {"role": role, "folder": str(self.folder.root), "arguments": arguments,
                 "fault": fault}  # fmt: skip
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self.pids.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def wait(self, pid: int, seconds: float = 30.0) -> None:
        """Wait until a process is gone."""
        end = time.monotonic() + seconds
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                assert time.monotonic() < end, "the process lives on: its fault never came"
                time.sleep(0.002)
        self.pids.remove(pid)

    def stop_for(self, pid: int, seconds: float) -> None:
        """Put a process to sleep for a while; one that is gone already sleeps well."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(seconds, self._wake, [pid]).start()

    def _wake(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def signal_all(self, number: int) -> None:
        for pid in self.pids:
            os.kill(pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in list(self.pids):
            self.kill(pid)
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def storm(nursery: Nursery, kills: int, *, seed: int, pause: float, calm: float = 0.04) -> None:
    """Kill a random process, or all of them, at random moments; replace the dead at once."""
    chance = random.Random(seed)
    number = 0

    def emitter():
        nonlocal number
        number += 1
        return nursery.start("emit", str(nursery.acks), number, pause)

    def owner():
        return nursery.start("own")

    def viewer():
        return nursery.start("view")

    cast = {emitter(): emitter, emitter(): emitter, owner(): owner, owner(): owner,
            viewer(): viewer}  # fmt: skip
    for _ in range(kills):
        time.sleep(chance.uniform(0.0, 2 * calm))
        doomed = list(cast) if chance.random() < 0.06 else [chance.choice(list(cast))]
        for pid in doomed:
            nursery.kill(pid)
        for pid in doomed:
            again = cast.pop(pid)
            cast[again()] = again


class Tally:
    """What is left of a storm, in numbers."""

    def __init__(self, folder: StateFolder, acks: Path, *, durable_only: bool = False) -> None:
        self.notices: list[str] = []
        with owner_lock(folder), Store.open_file(folder, notice=self.notices.append) as store:
            store.ingest()
            select = store.select
            self.rows = select("select count(*) from metric")[0][0]
            self.wrong = select(
                f"select count(*) from metric where value is distinct from {VALUE_SQL}"
            )[0][0]
            self.doubled = select(
                "select count(*) from (select 1 from metric group by attempt, epoch, metric"
                " having count(*) > 1)"
            )[0][0]
            self.bad_lines = select("select coalesce(sum(bad_lines), 0)::bigint from journal")[0][0]
            lines = dict(select("select name, next_sequence from journal"))
            self.gaps = select(
                "select count(*) from (select attempt from metric group by attempt having"
                f" count(*) <> {len(METRICS)} * max(epoch))"
            )[0][0]
        self.acknowledged = self.lost = 0
        for path in acks.glob("[0-9]*"):
            promised = Acks.read(path)[1 if durable_only else 0]
            self.acknowledged += promised
            self.lost += max(0, promised - lines.get(f"a{path.name}", 0))

    def check(self) -> None:
        assert (self.lost, self.doubled, self.wrong, self.gaps) == (0, 0, 0, 0)
        assert self.bad_lines == 0
        assert self.notices == []
        assert self.acknowledged > 0


def check_artifacts(folder: StateFolder, acks: Path) -> int:
    """Verify every published artifact, acknowledged or not; return how many there are."""
    for path in acks.glob("published-*"):
        assert (folder.artifacts / f"{int(path.name.partition('-')[2]):064x}").is_dir()
    there = [p.name for p in folder.artifacts.iterdir() if not p.name.startswith(".tmp-")]
    for digest in there:
        data = (verified(folder, digest) / "model.safetensors").read_bytes()
        assert data == digest.encode() * 50
    return len(there)


def journal_of(folder: StateFolder, attempt: int) -> Path:
    return folder.attempts / f"a{attempt}" / JOURNAL
