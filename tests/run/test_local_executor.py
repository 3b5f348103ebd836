"""Real worker processes: they work, they die, they stop when nobody talks to them."""

import os
import signal
from dataclasses import replace

import pytest

from icckd.errors import MachineError
from icckd.journal.file import read_chunk
from icckd.journal.folder import JOURNAL
from icckd.resources.host import cpu_model
from icckd.resources.processes import start_helper
from icckd.run.local import LocalExecutor
from icckd.run.messages import orders_line
from tests.support.executors import kinds, next_report, next_reports, orders, reports_until
from tests.support.waiting import wait_for


@pytest.fixture
def executor(folder):
    made = LocalExecutor(capacity=1, device="cpu", gpus=(), threads=1, logs=folder.sessions)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An executor for tests that leave its worker idle: importing torch takes seconds."""
    logs = tmp_path_factory.mktemp("logs")
    made = LocalExecutor(capacity=1, device="cpu", gpus=(), threads=1, logs=logs)
    yield made
    made.kill()


def test_a_killed_worker_loses_its_stage_and_returns_the_rest(folder, executor):
    executor.submit(orders(folder, "teacher.training.epochs=2000"))
    assert next_reports(executor, 1) == [("attempt-0", "started", "")]
    [worker] = executor._workers.values()
    wait_for((folder.attempts / "attempt-0" / JOURNAL).exists)

    os.kill(worker.process.pid, signal.SIGKILL)

    lost, returned = reports_until(executor, lambda found: len(found) == 2)
    assert (lost.order.attempt, lost.what, lost.cause) == ("attempt-0", "lost", "killed")
    assert lost.reason == "worker killed by signal 9"
    assert (returned.order.attempt, returned.what) == ("attempt-1", "returned")
    assert executor.idle() == 1
    assert "z" not in kinds(folder, "attempt-0")


def test_a_worker_whose_session_died_saves_its_stage_and_stops(folder):
    first, second = orders(folder, "teacher.training.epochs=20000")
    worker = start_helper("icckd.run.worker")
    worker.questions.write(orders_line([first, second]))
    worker.questions.flush()
    assert b"started" in worker.answers.readline()

    worker.questions.close()
    worker.answers.close()

    assert worker.process.wait(60) == -signal.SIGTERM
    assert kinds(folder, "attempt-0").endswith("lz")
    assert list((folder.checkpoints / first.stage.digest).glob("epoch-*"))
    assert not (folder.attempts / "attempt-1").exists()


def test_a_failure_is_recorded_with_step_term_and_traceback(folder, shared):
    first, _ = orders(folder, "teacher.training.lr=1e30")
    shared.submit([first])

    assert next_reports(shared, 2)[-1] == ("attempt-0", "ended", "failed")
    [*_, closed] = read_chunk(folder.attempts / "attempt-0" / JOURNAL).lines
    assert closed.body["failure"]["type"] == "NonFiniteError"
    assert closed.body["failure"]["cause"] == "non-finite"
    assert closed.body["failure"]["term"] == "ce"
    assert isinstance(closed.body["failure"]["step"], int)
    assert "Traceback" in closed.body["failure"]["traceback"]
    assert list(folder.artifacts.iterdir()) == []


def test_a_worker_gives_back_what_must_be_computed_on_other_hardware_and_tells_its_own(
    folder, shared
):
    first, _ = orders(folder)
    shared.submit([replace(first, hardware="Another CPU", is_bound=True)])
    [back] = reports_until(shared, bool)
    assert (back.what, back.hardware) == ("returned", cpu_model())
    assert list(folder.attempts.iterdir()) == []

    shared.submit([replace(first, hardware=cpu_model(), is_bound=True)])
    [started] = reports_until(shared, bool)
    assert (started.what, started.hardware) == ("started", cpu_model())
    next_report(shared, "ended")


@pytest.mark.slow
def test_a_pack_that_must_be_computed_on_other_hardware_comes_back_whole(folder, executor):
    first, second = orders(folder, "study.seeds.count=2", "numerics.packing=on")[::2]
    assert first.stage.packing.key == second.stage.packing.key != ""
    executor.submit(
        [replace(o, pack="p", hardware="Another CPU", is_bound=True) for o in (first, second)]
    )
    found = reports_until(executor, lambda reports: len(reports) == 2)
    assert [(r.what, r.hardware) for r in found] == [("returned", cpu_model())] * 2


def test_a_worker_that_is_told_to_end_is_preempted_not_killed(folder, executor):
    executor.submit(orders(folder, "teacher.training.epochs=20000")[:1])
    next_reports(executor, 1)
    [worker] = executor._workers.values()

    os.kill(worker.process.pid, signal.SIGTERM)

    lost = next_report(executor, "lost")
    assert (lost.cause, lost.reason) == ("preempted", "worker killed by signal 15")


@pytest.mark.slow
def test_a_stage_that_another_worker_holds_is_waited_for_and_not_trained_twice(folder, executor):
    first, _ = orders(folder, "teacher.training.epochs=12")
    first, second = (replace(first, attempt=f"{first.stage.digest[:16]}-{n}") for n in (1, 2))
    other = LocalExecutor(capacity=1, device="cpu", gpus=(), threads=1, logs=folder.sessions)
    try:
        executor.submit([first])
        next_reports(executor, 1)
        [worker] = executor._workers.values()
        os.kill(worker.process.pid, signal.SIGSTOP)
        other.submit([second])
        assert next_reports(other, 1)[0][1] == "stalled"
        os.kill(worker.process.pid, signal.SIGCONT)
        assert next_reports(executor, 1)[0][1:] == ("ended", "complete")
        assert next_reports(other, 1)[0][1:] == ("ended", "complete")
    finally:
        other.kill()
    assert len(list(folder.attempts.iterdir())) == 1


def test_workers_that_cannot_start_give_one_error(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(folder.root))
    (folder.root / "torch.py").write_text("raise ImportError('this torch is broken')")
    executor = LocalExecutor(capacity=1, device="cpu", gpus=(), threads=1, logs=folder.sessions)

    for _ in range(2):
        executor.submit(orders(folder)[:1])
        assert next_reports(executor, 1) == [("attempt-0", "returned", "")]
    executor.submit(orders(folder)[:1])
    with pytest.raises(MachineError, match="this torch is broken"):
        next_reports(executor, 1)
    executor.kill()


def test_the_same_stage_gives_the_same_bytes_whatever_its_worker_did_before(folder, shared):
    teacher, _ = orders(folder)
    other = orders(folder, "study.seeds.first=5")[0]
    first = replace(teacher, attempt="first")
    shared.submit([first])
    next_reports(shared, 2)
    digest = teacher.stage.digest
    before = (folder.artifacts / digest / "model.safetensors").read_bytes()

    shared.submit(
        [
            replace(other, attempt="other"),
            replace(teacher, attempt="again"),
        ]
    )
    next_reports(shared, 4)

    assert (folder.artifacts / digest / "model.safetensors").read_bytes() == before
