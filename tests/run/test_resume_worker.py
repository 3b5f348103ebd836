"""Processes die in the middle of a stage; its next attempt resumes it (design law 7).

tests/faults/test_runs.py kills workers of the local executor.
"""

import json
import os
import signal
from dataclasses import replace

import pytest

from icckd.results.store import Store
from icckd.run.messages import Order
from tests.support.executors import events, next_report, orders
from tests.support.fresh_process import FreshProcessExecutor
from tests.support.waiting import wait_for

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
intra = {}
[teacher.training]
epochs = 30
batch_size = 32
[[arm]]
name = "full"
"""


@pytest.fixture
def executor(folder, monkeypatch):
    monkeypatch.setenv("ICCKD_CHECKPOINT_SECONDS", "0")  # one after every epoch
    made = FreshProcessExecutor(capacity=1)
    yield made
    made.kill()


def order(folder, attempt) -> Order:
    return replace(orders(folder, study=STUDY)[0], attempt=attempt)


def files(folder, order):
    about = json.loads((folder.artifacts / order.stage.digest / "manifest.json").read_bytes())
    return about["files"]


def killed(folder, executor, number, order, kept):
    """Attempt a stage, and kill its worker once there is a newer checkpoint than before."""
    before = names(kept)
    executor.submit([order])
    next_report(executor, "started")
    wait_for(lambda: names(kept) not in ([], before))
    os.kill(events(folder, order.attempt)[0]["pid"], number)
    return next_report(executor, "lost").reason


def names(kept):
    return sorted(path.name for path in kept.glob("epoch-*")) if kept.is_dir() else []


@pytest.mark.slow
def test_a_stage_whose_workers_were_killed_resumes_in_its_next_attempt(folder, executor):
    first, second, third, whole = (order(folder, name) for name in ("1st", "2nd", "3rd", "whole"))
    kept = folder.checkpoints / first.stage.digest

    assert killed(folder, executor, signal.SIGTERM, first, kept) == "process killed by signal 15"
    assert events(folder, "1st")[-1]["state"] == "cancelled"
    assert killed(folder, executor, signal.SIGKILL, second, kept) == "process killed by signal 9"
    assert "state" not in events(folder, "2nd")[-1]
    executor.submit([third])
    assert next_report(executor, "ended").state == "complete"

    assert events(folder, "2nd")[1]["attempt"] == "1st"
    _, resumed, *rest = events(folder, "3rd")
    epochs = [event["epoch"] for event in rest if "values" in event and "epoch" in event]
    assert (resumed["attempt"], epochs) == ("2nd", list(range(1, 31)))
    assert events(folder, "2nd")[1]["epoch"] < resumed["epoch"] < 30
    assert not kept.exists()
    assert_told_once_and_whole(folder)

    resumed_files = files(folder, third)
    executor.submit([replace(whole, force=True)])
    assert next_report(executor, "ended").state == "complete"
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

    assert counts == [(30, 30)]
    assert taken == pytest.approx(own + before)
