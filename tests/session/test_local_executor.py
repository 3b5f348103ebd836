"""Real worker processes: they work, they die, they stop when nobody talks to them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icckd.errors import MachineError
from icckd.execution.local import LocalExecutor
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.order import Order, to_line
from icckd.journal.read import read_chunk
from icckd.session.prepare import make_plan
from icckd.spec.load import parse

STUDY = """
[study]
name = "s"
baseline = "full"
seeds = { count = 1 }
[teacher.training]
epochs = 2
[student.training]
epochs = 2
[[arm]]
name = "full"
"""


@pytest.fixture
def folder(tmp_path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.create()
    return made


def orders(folder: StateFolder, *overrides: str) -> list[Order]:
    study = parse(STUDY, where="x", overrides=overrides)
    plan = make_plan(study, device="cpu", root=folder.root / "data")
    return [
        Order(
            attempt=f"attempt-{number}", session="s", state_folder=str(folder.root),
            data_root=str(folder.root / "data"), stage=stage,
        )
        for number, stage in enumerate(plan.stages.values())
    ]  # fmt: skip


@pytest.fixture
def executor(folder):
    made = LocalExecutor(capacity=1, device="cpu", gpus=(), threads=1, logs=folder.sessions)
    yield made
    made.kill()


def reports_until(executor, count, seconds=60.0):
    found = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found += executor.wait(0.2)
    return [(report.order.attempt, report.what, report.state) for report in found]


def reports_until_dead(executor, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for report in executor.wait(0.2):
            if report.what == "lost":
                return report
    raise AssertionError("no worker died")


def kinds(folder: StateFolder, attempt: str) -> str:
    chunk = read_chunk(folder.attempts / attempt / JOURNAL)
    return "".join(line.kind for line in chunk.lines)


def test_a_list_is_worked_off_in_order_each_stage_with_its_journal(folder, executor):
    executor.submit(orders(folder))

    assert reports_until(executor, 4) == [
        ("attempt-0", "started", ""), ("attempt-0", "ended", "complete"),
        ("attempt-1", "started", ""), ("attempt-1", "ended", "complete"),
    ]  # fmt: skip
    assert kinds(folder, "attempt-0").startswith("hmm")
    assert kinds(folder, "attempt-0").endswith("az")
    assert executor.idle() == 1


def test_a_killed_worker_loses_its_stage_and_returns_the_rest(folder, executor):
    executor.submit(orders(folder, "teacher.training.epochs=2000"))
    assert reports_until(executor, 1) == [("attempt-0", "started", "")]
    [worker] = executor._workers.values()
    while not (folder.attempts / "attempt-0" / JOURNAL).exists():
        time.sleep(0.02)

    os.kill(worker.process.pid, signal.SIGKILL)

    assert reports_until(executor, 2) == [
        ("attempt-0", "lost", ""), ("attempt-1", "returned", ""),
    ]  # fmt: skip
    assert executor.idle() == 1
    assert "z" not in kinds(folder, "attempt-0")


def test_asked_to_finish_a_worker_ends_its_stage_and_returns_the_rest(folder, executor):
    executor.submit(orders(folder, "teacher.training.epochs=12"))
    reports_until(executor, 1)

    executor.finish()

    assert reports_until(executor, 2) == [
        ("attempt-0", "ended", "complete"), ("attempt-1", "returned", ""),
    ]  # fmt: skip
    assert executor.idle() == 0


def test_a_worker_whose_session_died_saves_its_stage_and_stops(folder):
    first, second = orders(folder, "teacher.training.epochs=20000")
    worker = subprocess.Popen(
        [sys.executable, "-m", "icckd.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert worker.stdin is not None
    worker.stdin.write(to_line([first, second]))
    worker.stdin.flush()
    assert b"started" in worker.stdout.readline()

    worker.stdin.close()
    worker.stdout.close()

    assert worker.wait(60) == -signal.SIGTERM
    assert kinds(folder, "attempt-0").endswith("lz")
    assert list((folder.checkpoints / first.stage.digest).glob("epoch-*"))
    assert not (folder.attempts / "attempt-1").exists()


def test_a_failure_is_recorded_with_step_term_and_traceback(folder, executor):
    first, _ = orders(folder, "teacher.training.lr=1e30")
    executor.submit([first])

    assert reports_until(executor, 2)[-1] == ("attempt-0", "ended", "failed")
    [*_, closed] = read_chunk(folder.attempts / "attempt-0" / JOURNAL).lines
    assert closed.body["failure"]["type"] == "NonFiniteError"
    assert closed.body["failure"]["cause"] == "non-finite"
    assert closed.body["failure"]["term"] == "ce"
    assert isinstance(closed.body["failure"]["step"], int)
    assert "Traceback" in closed.body["failure"]["traceback"]
    assert list(folder.artifacts.iterdir()) == []


def test_a_cancelled_attempt_ends_now_and_the_rest_of_its_list_comes_back(folder, executor):
    executor.submit(orders(folder, "teacher.training.epochs=20000"))
    reports_until(executor, 1)

    executor.cancel({"attempt-0"})

    assert reports_until(executor, 2) == [("attempt-0", "lost", ""), ("attempt-1", "returned", "")]
    assert executor.idle() == 1


@pytest.mark.parametrize(
    ("number", "cause"), [(signal.SIGTERM, "preempted"), (signal.SIGKILL, "killed")]
)
def test_preempted_and_killed_are_told_apart(folder, executor, number, cause):
    executor.submit(orders(folder, "teacher.training.epochs=20000")[:1])
    reports_until(executor, 1)
    [worker] = executor._workers.values()

    os.kill(worker.process.pid, number)

    lost = reports_until_dead(executor)
    assert lost.cause == cause
    assert lost.reason == f"worker killed by signal {int(number)}"


def test_a_stage_that_another_worker_holds_is_waited_for_and_not_trained_twice(folder, executor):
    first, _ = orders(folder, "teacher.training.epochs=12")
    second = Order(**{**_fields(first), "attempt": f"{first.stage.digest[:16]}-2"})
    first = Order(**{**_fields(first), "attempt": f"{first.stage.digest[:16]}-1"})
    other = LocalExecutor(capacity=1, device="cpu", gpus=(), threads=1, logs=folder.sessions)
    try:
        executor.submit([first])
        reports_until(executor, 1)
        [worker] = executor._workers.values()
        os.kill(worker.process.pid, signal.SIGSTOP)
        other.submit([second])
        assert reports_until(other, 1)[0][1] == "stalled"
        os.kill(worker.process.pid, signal.SIGCONT)
        assert reports_until(executor, 1)[0][1:] == ("ended", "complete")
        assert reports_until(other, 1)[0][1:] == ("ended", "complete")
    finally:
        other.kill()
    assert len(list(folder.attempts.iterdir())) == 1


def test_workers_that_cannot_start_give_one_error(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(folder.root))
    (folder.root / "torch.py").write_text("raise ImportError('this torch is broken')")
    executor = LocalExecutor(capacity=1, device="cpu", gpus=(), threads=1, logs=folder.sessions)

    for _ in range(2):
        executor.submit(orders(folder)[:1])
        assert reports_until(executor, 1) == [("attempt-0", "returned", "")]
    executor.submit(orders(folder)[:1])
    with pytest.raises(MachineError, match="this torch is broken"):
        reports_until(executor, 1)
    executor.kill()


def test_the_same_stage_gives_the_same_bytes_whatever_its_worker_did_before(folder, executor):
    teacher, _ = orders(folder)
    other = orders(folder, "study.seeds.first=5")[0]
    first = Order(**{**_fields(teacher), "attempt": "first"})
    executor.submit([first])
    reports_until(executor, 2)
    digest = teacher.stage.digest
    before = (folder.artifacts / digest / "model.safetensors").read_bytes()

    executor.submit(
        [
            Order(**{**_fields(other), "attempt": "other"}),
            Order(**{**_fields(teacher), "attempt": "again"}),
        ]
    )
    reports_until(executor, 4)

    assert (folder.artifacts / digest / "model.safetensors").read_bytes() == before


def _fields(order: Order) -> dict[str, object]:
    return {name: getattr(order, name) for name in Order.__dataclass_fields__}
