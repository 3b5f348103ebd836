"""One study on several machines: each has a state folder of its own, and they share storage."""

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from icckd.journal import requests
from icckd.journal.artifacts import sha256
from icckd.journal.events import AttemptHeader
from icckd.journal.file import first_line, last_line
from icckd.journal.folder import StateFolder
from icckd.results.store import Store
from tests.faults.disks import tmpfs
from tests.support.desk import Desk
from tests.support.disks import fill
from tests.support.studies import BY_ITSELF, TWO_STAGES
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("fresh_process")

STUDY = TWO_STAGES.replace("count = 1", "count = 2") + BY_ITSELF
LONG = STUDY.replace("epochs = 2", "epochs = 8")


class Lab:
    """Machines that share storage."""

    def __init__(self, root):
        self.root, self.storage = root, root / "storage"
        self.storage.mkdir()
        self.configure()

    def configure(self, **settings):
        told = {"url": f"file://{self.storage}", "seconds": 0.2, "takeover_seconds": 2.0}
        lines = [f"{k} = {v!r}".replace("'", '"') for k, v in {**told, **settings}.items()]
        folder = self.root / "config" / "icckd"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text("[storage]\n" + "\n".join(lines))

    def machine(self, name, study=STUDY, *, shares=True):
        folder = self.root / name
        folder.mkdir()
        config = {"XDG_CONFIG_HOME": str(self.root / "config")} if shares else {}
        desk = Desk(folder, environment={"ICCKD_CHECKPOINT_SECONDS": "0.3", **config})
        desk.write(study)
        return desk

    def published(self):
        """Return the stages that are published."""
        return {path.name for path in (self.storage / "artifacts").glob("*")}

    def unfinished(self):
        """Return the stages that can be resumed anywhere."""
        found = (self.storage / "checkpoints").glob("*/*/checkpoint.json")
        return {path.parent.parent.name for path in found} - self.published()


@pytest.fixture
def lab(tmp_path):
    """Machines in memory, where there is such a folder: nothing here is about disks."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as root:
        yield Lab(Path(root))


def outcomes(desk):
    """Return the outcomes that training decides, and the digests of all models."""
    folder = StateFolder(desk.state)
    with Store.in_memory(folder) as store:
        store.ingest()
        rows = store.select(
            "select metric, arm, seed, value from every_outcome where metric in"
            " ('student.top1', 'teacher.top1', 'teacher.convergence') order by all"
        )
    models = {
        path.name: sha256(path / "model.safetensors")
        for path in folder.artifacts.iterdir()
        if not path.name.startswith(".")
    }
    return rows, models


def attempts(desk):
    """Return the stage and end of each attempt, the newest last."""
    found = []
    for path in StateFolder(desk.state).attempts.glob("*/journal.jsonl"):
        header, last = first_line(path), last_line(path)
        assert header.kind == AttemptHeader.model_fields["k"].default
        found.append((header.body["ordinal"], header.body["stage"], last.body.get("state", "")))
    return [each[1:] for each in sorted(found)]


@pytest.mark.slow
def test_a_study_killed_on_one_machine_is_finished_on_another_with_equal_outcomes(lab):
    study = STUDY.replace("epochs = 2", "epochs = 60")  # long after its first checkpoint
    a, b = lab.machine("a", study), lab.machine("b", study)
    plain = lab.machine("p", study, shares=False)
    a.environment["ICCKD_CHECKPOINT_SECONDS"] = "0"
    session = a.start_forked("run", "small.toml", "-j", "1")
    wait_for(lambda: lab.published(), process=session)
    wait_for(lab.unfinished, process=session)
    session.kill()
    session.communicate()

    done = b.train("run", "small.toml", "-j", "1")
    plain.train("run", "small.toml", "-j", "1")

    assert "owns s on file://" in done.stderr
    assert "took s over from a session" in done.stderr
    ended = attempts(b)
    assert [state for _, state in ended].count("complete") == 4
    assert len({stage for stage, state in ended if state == "complete"}) == 4
    resumed = [p for p in b.state.glob("attempts/*/journal.jsonl") if b'"k":"c"' in p.read_bytes()]
    assert resumed  # from a checkpoint that the killed machine pushed
    report = [each.run("report", "--format", "json").stdout for each in (a, b)]
    assert report[0] == report[1]  # whoever looks sees the same
    assert outcomes(b) == outcomes(plain)
    assert "whole: " in b.run("fsck").stdout


@pytest.mark.long
def test_a_machine_that_was_taken_over_ends_by_itself_and_acknowledges_nothing_more(lab):
    a, b, c = lab.machine("a", LONG), lab.machine("b", LONG), lab.machine("c", LONG)
    session = a.start_forked("run", "small.toml", "-j", "1")
    wait_for(lambda: lab.published(), process=session)
    os.kill(session.pid, signal.SIGSTOP)  # a lid is closed
    done = b.train("run", "small.toml", "-j", "1", "--take-over")
    os.kill(session.pid, signal.SIGCONT)  # and opened

    start = time.monotonic()
    _, told = session.communicate(60)

    assert session.returncode == 4
    assert time.monotonic() - start < 20
    assert "has taken the study s over" in told
    assert "--take-over takes it back" in told
    assert "waiting until its session ends" not in done.stderr
    assert [state for _, state in attempts(b)].count("complete") == 4
    c.run("status")
    assert sorted(attempts(c)) == sorted(attempts(b))  # the storage has what b has


@pytest.mark.long
def test_a_viewer_on_another_machine_sees_what_runs_and_can_ask_it_to_stop(lab):
    a, viewer = lab.machine("a", LONG), lab.machine("viewer", LONG)
    session = a.start_forked("run", "small.toml", "-j", "1")
    wait_for(lambda: lab.published(), process=session)

    shown = viewer.run("status")
    assert "running now" in shown.stdout
    assert "read from file://" in shown.stderr
    StateFolder(viewer.state).requests.mkdir(exist_ok=True)
    requests.submit(StateFolder(viewer.state), requests.Wanted(kind="stop", study="s"))
    viewer.run("status")

    session.communicate(60)
    assert session.returncode == 130
    assert "running now" not in viewer.run("status").stdout
    [journal] = viewer.state.glob("sessions/*/journal.jsonl")
    assert journal.read_bytes() == next(a.state.glob("sessions/*/journal.jsonl")).read_bytes()


@pytest.mark.long
def test_storage_without_room_stalls_a_run_that_goes_on_when_there_is_room(lab, tmp_path):
    with tmpfs(tmp_path / "small", megabytes=4) as disk:
        lab.storage = disk
        lab.configure()
        a = lab.machine("a", STUDY)
        session = a.start_forked("run", "small.toml", "-j", "1")
        wait_for(lambda: any(disk.glob("journals/sessions/*/*/*")), process=session)
        fill(disk / "ballast")
        start = time.monotonic()
        wait_for(lambda: "stalled: storage" in session.said(), 30, process=session)
        assert time.monotonic() - start < 15
        (disk / "ballast").unlink()
        _, told = session.communicate(120)

        assert session.returncode == 0, told
        assert [state for _, state in attempts(a)] == ["complete"] * 4
        for path in a.state.glob("attempts/*/journal.jsonl"):
            segments = sorted(disk.glob(f"journals/attempts/*/{path.parent.name}/*"))
            assert b"".join(each.read_bytes() for each in segments) == path.read_bytes()


@pytest.mark.long
def test_a_stage_that_another_machine_completed_is_taken_and_not_trained(lab):
    a, b = lab.machine("a"), lab.machine("b", STUDY.replace('name = "s"', 'name = "other"'))
    a.train("run", "small.toml", "-j", "1")

    done = b.train("run", "small.toml", "-j", "1")

    assert "0 of 4 stages to train" in done.stderr or "nothing" in done.stderr
    assert len(attempts(b)) == 4
    trained_by = {first_line(p).body["session"] for p in b.state.glob("attempts/*/journal.jsonl")}
    assert len(trained_by) == 1


@pytest.mark.slow
@pytest.mark.parametrize("url", ["file:///nowhere/at/all", "s3://bucket/x"])
def test_storage_that_cannot_be_used_is_one_error_before_anything_begins(lab, url):
    lab.configure(url=url, endpoint="http://127.0.0.1:9")
    a = lab.machine("a")
    a.environment |= {"AWS_ACCESS_KEY_ID": "A" * 20, "AWS_SECRET_ACCESS_KEY": "S" * 40}

    done = a.run("run", "small.toml", code=4)

    assert done.stderr.count("icckd: storage") == 1
    assert "S" * 40 not in done.stderr
    assert not list(a.state.glob("sessions/*/journal.jsonl"))
