"""Workers die in the middle of a stage; its next attempt goes on from the checkpoint (law 7)."""

import json
import os
import signal
import time
from dataclasses import replace

import pytest

from icckd.execution.local import LocalExecutor
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.order import Order
from icckd.journal.read import read_chunk
from icckd.session.prepare import make_plan
from icckd.spec.load import parse
from icckd.store.store import Store

STUDY = """
[study]
name = "s"
baseline = "full"
seeds = { count = 1 }
[data]
kind = "digits"
train = 170
validation = 40
[teacher]
model = { kind = "cnn", widths = [4, 8, 8] }
[teacher.training]
epochs = 90
batch_size = 32
[[arm]]
name = "full"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> StateFolder:
    monkeypatch.setenv("ICCKD_CHECKPOINT_SECONDS", "0.2")
    made = StateFolder(tmp_path / "state")
    made.create()
    return made


@pytest.fixture
def executor(folder):
    made = LocalExecutor(capacity=1, device="cpu", gpus=(), threads=1, logs=folder.sessions)
    yield made
    made.kill()


def order(folder, attempt) -> Order:
    study = parse(STUDY, where="x")
    stage = next(iter(make_plan(study, device="cpu", root=folder.root / "data").stages.values()))
    return Order(
        attempt=attempt, session="s", state_folder=str(folder.root),
        data_root=str(folder.root / "data"), stage=stage,
    )  # fmt: skip


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def until(executor, words):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for report in executor.wait(0.1):
            if report.what in words:
                return report
    raise AssertionError("nothing was heard")


def events(folder, attempt):
    return [line.body for line in read_chunk(folder.attempts / attempt / JOURNAL).lines]


def files(folder, order):
    about = json.loads((folder.artifacts / order.stage.digest / "manifest.json").read_bytes())
    return about["files"]


def killed(executor, number, order, kept):
    """Attempt a stage, and kill its worker once there is a newer checkpoint than before."""
    before = names(kept)
    executor.submit([order])
    until(executor, ("started",))
    wait_for(lambda: names(kept) not in ([], before))
    [worker] = executor._workers.values()
    os.kill(worker.process.pid, number)
    return until(executor, ("lost",)).reason


def names(kept):
    return sorted(path.name for path in kept.glob("epoch-*")) if kept.is_dir() else []


def test_a_stage_whose_workers_were_killed_goes_on_in_its_next_attempt(folder, executor):
    first, second, third, whole = (order(folder, name) for name in ("1st", "2nd", "3rd", "whole"))
    kept = folder.checkpoints / first.stage.digest

    assert killed(executor, signal.SIGTERM, first, kept) == "worker killed by signal 15"
    assert events(folder, "1st")[-1]["state"] == "cancelled"
    assert killed(executor, signal.SIGKILL, second, kept) == "worker killed by signal 9"
    assert "state" not in events(folder, "2nd")[-1]
    executor.submit([third])
    assert until(executor, ("ended",)).state == "complete"

    assert events(folder, "2nd")[1]["attempt"] == "1st"
    _, resumed, *rest = events(folder, "3rd")
    epochs = [event["epoch"] for event in rest if "values" in event and "epoch" in event]
    assert (resumed["attempt"], epochs) == ("2nd", list(range(1, 91)))
    assert events(folder, "2nd")[1]["epoch"] < resumed["epoch"] < 90
    assert not kept.exists()
    assert_told_once_and_whole(folder)

    resumed_files = files(folder, third)
    executor.submit([replace(whole, force=True)])
    assert until(executor, ("ended",)).state == "complete"
    assert files(folder, third) == resumed_files


def assert_told_once_and_whole(folder):
    """The numbers of the stage come from its last attempt, which adds to what others took."""
    with Store.in_memory(folder) as store:
        store.ingest()
        [(before,)] = store.select("select seconds from resumption where attempt = '3rd'")
        [(taken,)] = store.select("select seconds from attempt_state where attempt = '3rd'")
        [(own,)] = store.select("select seconds from attempt_end where attempt = '3rd'")
        counts = store.select(
            "select count(*), count(distinct epoch) from metric"
            " where attempt = '3rd' and metric = 'teacher.val_top1'"
        )

    assert counts == [(90, 90)]
    assert taken == pytest.approx(own + before)
