"""Tasks of Slurm on a node that does not see the state folder: all goes through storage."""

import contextlib
import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from icckd.journal.file import read_chunk
from icckd.run.session import INTERRUPTED
from tests.cluster.conftest import running
from tests.cluster.slurm import TestSlurm
from tests.cluster.test_away import ends, files_of, outcomes
from tests.support.desk import Desk, wait_for_epochs
from tests.support.studies import SMALL
from tests.support.waiting import wait_for

pytestmark = pytest.mark.long
EPOCHS = ("teacher.training.epochs=40", "student.training.epochs=40")


class BlindSlurm(TestSlurm):
    """A Slurm whose node has a disk of its own, and sees nothing of the desks."""

    __test__ = False

    def __init__(self, root):
        super().__init__(root / "slurm")
        self.desks, self.scratch, self.storage = (
            root / name for name in ("desks", "scratch", "storage")
        )
        for folder in (self.root, self.desks, self.scratch, self.storage):
            folder.mkdir()

    def start_node(self):
        hidden = " && ".join(f"mount -t tmpfs none {p}" for p in (self.desks, self.scratch))
        hide = f'mount --make-rprivate / && {hidden} && exec "$@"'
        command = ("slurmd", "-N", "n1", "-f", str(self.conf))
        self.call("unshare", "-m", "sh", "-c", hide, "sh", *command)

    def on_node(self, *words):
        """Run a command that sees what the node sees."""
        return self.call("nsenter", "-m", "-t", str(self._pid("slurmd.pid")), *words)


@pytest.fixture(scope="module")
def blind():
    with running("icckd-blind-", BlindSlurm) as made:
        yield made


@pytest.fixture
def desk(blind, tmp_path):
    config = tmp_path / "config" / "icckd"
    config.mkdir(parents=True)
    storage = Path(tempfile.mkdtemp(dir=blind.storage))
    told = {"url": f"file://{storage}", "seconds": 0.2, "takeover_seconds": 2.0,
            "scratch": str(blind.scratch)}  # fmt: skip
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in told.items())
    (config / "config.toml").write_text(
        f"[slurm]\npoll_seconds = 0.2\nminimum_minutes = 0\n[storage]\n{lines}\n"
    )
    made = Desk(
        Path(tempfile.mkdtemp(dir=blind.desks)),
        environment={
            **{name: blind.environment[name] for name in ("SLURM_CONF", "PATH")},
            "XDG_CONFIG_HOME": str(config.parent), "OMP_NUM_THREADS": "1",
            "ICCKD_CHECKPOINT_SECONDS": "0",
        },
    )  # fmt: skip
    made.write(SMALL)
    made.storage = storage
    yield made
    blind.call("scancel", "-u", "root", check=False)
    blind.resume_node()


def on_slurm():
    return ("run", "small.toml", "--device", "cpu", "--executor", "slurm", *EPOCHS)


def published(storage):
    return files_of(json.loads(path.read_bytes()) for path in storage.glob("artifacts/*/*"))


def test_tasks_that_are_requeued_and_drivers_that_are_killed_change_no_byte(
    blind, desk, tmp_path, fresh_process
):
    here = Desk(tmp_path / "here")
    here.folder.mkdir()
    here.write(SMALL)
    here.train("run", "small.toml", "--device", "cpu", *EPOCHS)

    session = desk.start(*on_slurm())
    wait_for_epochs(desk, session, 20)
    blind.call("scontrol", "requeue", blind.running()[0], check=False)
    wait_for(lambda: blind.restarts() > 0, process=session)
    with contextlib.suppress(AssertionError):  # a task may write there at this moment
        blind.on_node("sh", "-c", f"rm -rf {blind.scratch}/*/*/checkpoints/*")  # another disk
    wait_for_epochs(desk, session, 20)
    session.kill()
    session.communicate()
    done = desk.run_apart(*on_slurm())

    assert done.returncode == 0, done.stderr
    manifests = [json.loads(p.read_bytes()) for p in here.state.glob("artifacts/*/manifest.json")]
    assert published(desk.storage) == files_of(manifests)
    assert outcomes(desk) == outcomes(here)
    complete = Counter(stage for stage, state in ends(desk) if state == "complete")
    assert set(complete.values()) == {1}
    assert len(complete) == 8
    assert not list((desk.state / "artifacts").iterdir())  # nothing was trained in there
    assert any(b'"k":"c"' in p.read_bytes() for p in desk.state.glob("attempts/*/journal.jsonl"))
    assert "whole: " in desk.run("fsck").stdout


def test_what_a_session_wants_reaches_tasks_on_such_a_node(blind, desk):
    session = desk.start(*on_slurm(), "--grace", "60")
    wait_for_epochs(desk, session, 10)
    session.terminate()  # leaves tasks to Slurm
    session.communicate(60)
    assert session.returncode == INTERRUPTED
    assert blind.running()
    (desk.state / "config.toml").write_text('[slurm]\nwhen_stopped = "cancel"\n')
    session = desk.start(*on_slurm(), "--grace", "60")
    wait_for(lambda: len(list(desk.state.glob("sessions/2*/journal.jsonl"))) == 2, process=session)
    wait_for_epochs(desk, session, 5)
    session.terminate()
    _, told = session.communicate(90)

    assert session.returncode == INTERRUPTED, told
    wait_for(lambda: blind.running() == [])
    [journal] = sorted(desk.state.glob("sessions/2*/journal.jsonl"))[-1:]
    causes = [line.body.get("cause") for line in read_chunk(journal).lines]
    assert "preempted" in causes  # the tasks were told, saved their stages, and said so


def test_a_node_without_icckd_is_one_error_that_says_where_to_look(blind, desk):
    config = Path(desk.environment["XDG_CONFIG_HOME"]) / "icckd" / "config.toml"
    text = config.read_text().replace("[storage]", 'prologue = ["exit 7"]\n[storage]')
    config.write_text(text)
    done = desk.run_apart(*on_slurm())

    assert done.returncode == 4, done.stderr
    assert "tasks of Slurm end before they train anything" in done.stderr
    assert "in its node's temporary folder" in done.stderr
