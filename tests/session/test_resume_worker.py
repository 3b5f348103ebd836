"""Workers die in the middle of a stage; its next attempt goes on from the checkpoint (law 7)."""

import json
import os
import signal
import time

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


def outcome_of(executor, order):
    executor.submit([order])
    return until(executor, ("ended", "lost"))


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


def assert_told_once_and_whole(folder):
    with Store.in_memory(folder) as store:
        store.ingest()
        [(epoch, before)] = store.select("select epoch, seconds from resumption")
        [(whole,)] = store.select("select seconds from attempt_state where attempt = 'second'")
        [(own,)] = store.select("select seconds from attempt_end where attempt = 'second'")
        counts = store.select(
            "select count(*), count(distinct epoch) from metric"
            " where attempt = 'second' and metric = 'teacher.val_top1'"
        )

    assert counts == [(90, 90)]
    assert 0 < epoch < 90
    assert whole == pytest.approx(own + before)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stage_whose_worker_was_killed_goes_on_in_its_next_attempt(number, folder, executor):
    first = order(folder, "first")
    kept = folder.checkpoints / first.stage.digest
    executor.submit([first])
    until(executor, ("started",))
    wait_for(lambda: kept.is_dir() and any(kept.glob("epoch-*")))
    [worker] = executor._workers.values()
    os.kill(worker.process.pid, number)
    lost = until(executor, ("lost",))

    second = outcome_of(executor, order(folder, "second"))

    assert lost.reason == f"worker killed by signal {number.value}"
    assert second.state == "complete"
    last = events(folder, "first")[-1]
    assert last.get("state") == ("cancelled" if number == signal.SIGTERM else None)
    _, resumed, *rest = events(folder, "second")
    epochs = [event["epoch"] for event in rest if "values" in event and "epoch" in event]
    assert (resumed["attempt"], epochs) == ("first", list(range(1, 91)))
    assert 0 < resumed["epoch"] < 90
    assert not kept.exists()

    assert_told_once_and_whole(folder)
    resumed_files = files(folder, first)
    assert outcome_of(executor, order(folder, "third")).state == "complete"
    assert files(folder, first) == resumed_files
