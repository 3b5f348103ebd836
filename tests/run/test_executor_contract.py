"""What a session relies on, whoever attempts its stages: the local executor, and one of a package
that was installed beside icckd."""

import time
from dataclasses import replace

import pytest

from icckd.errors import MachineError, UsageError
from icckd.run.executors import ExecutorContext, executor_names, find_executor, make_executor
from tests.support.executors import (
    FRESH_PROCESS,
    install_fresh_process,
    kinds,
    next_report,
    next_reports,
    orders,
    plan_of,
    reports_until,
)
from tests.support.lanes import slow_but
from tests.support.waiting import wait_for

FINAL = ("ended", "returned", "lost")
LONG = "teacher.training.epochs=20000"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package beside icckd, whose entry points name one executor, and one that is missing."""
    site = tmp_path / "site"
    site.mkdir()
    install_fresh_process(site)
    monkeypatch.syspath_prepend(site)


@pytest.fixture(params=slow_but(["local", FRESH_PROCESS], FRESH_PROCESS))
def executor(request, installed, folder, monkeypatch):
    monkeypatch.setenv("ICCKD_CHECKPOINT_SECONDS", "0")
    context = ExecutorContext(folder=folder, plan=plan_of(folder), jobs=1, notice=print)
    made = make_executor(request.param, context)
    yield made
    made.kill()


def finals(reports):
    return [(r.order.attempt, r.what, r.state) for r in reports if r.what in FINAL]


def test_a_list_is_attempted_in_order_each_stage_with_its_journal(folder, executor):
    assert (executor.capacity, executor.idle()) == (1, 1)
    start = time.monotonic()
    assert executor.wait(0.1) == []
    assert time.monotonic() - start < 5
    executor.submit(orders(folder))
    assert executor.idle() == 0

    assert next_reports(executor, 4) == [
        ("attempt-0", "started", ""), ("attempt-0", "ended", "complete"),
        ("attempt-1", "started", ""), ("attempt-1", "ended", "complete"),
    ]  # fmt: skip
    reports_until(executor, lambda _: executor.idle() == 1)
    assert kinds(folder, "attempt-0").startswith("hmm")
    assert kinds(folder, "attempt-0").endswith("az")
    executor.retire()
    assert executor.idle() == 1


def test_a_cancelled_attempt_ends_now_and_every_order_is_reported_once(folder, executor):
    executor.submit(orders(folder, LONG))
    next_report(executor, "started")
    executor.cancel({"attempt-1"})
    executor.cancel({"attempt-0"})

    reports = reports_until(executor, lambda found: len(finals(found)) == 2)
    assert sorted(finals(reports)) == [("attempt-0", "lost", ""), ("attempt-1", "returned", "")]
    assert not (folder.attempts / "attempt-1").exists()


def test_an_attempt_cancelled_while_it_begins_does_not_go_on(folder, executor):
    executor.submit([replace(orders(folder)[0], attempt="before")])
    next_report(executor, "ended")  # there is a worker, or what it comes from
    executor.submit(orders(folder, LONG)[:1])
    wait_for(lambda: "m" in kinds(folder, "attempt-0"))  # it began; nobody has read that yet

    executor.cancel({"attempt-0"})

    reports = reports_until(executor, finals)
    assert finals(reports) == [("attempt-0", "lost", "")]


def test_an_executor_whose_worker_has_just_ended_can_be_told_anything(folder, executor):
    executor.submit(orders(folder)[:1])
    next_report(executor, "ended")
    executor.cancel({"attempt-0"})
    executor.save()
    executor.finish()
    executor.finish()
    reports_until(executor, lambda _: executor.idle() == 0)


def test_a_saved_stage_is_lost_as_preempted_and_has_a_checkpoint(folder, executor):
    order, _ = orders(folder, LONG)
    executor.submit([order])
    next_report(executor, "started")

    executor.save()

    lost = next_report(executor, "lost")
    assert (lost.order.attempt, lost.cause) == ("attempt-0", "preempted")
    assert list((folder.checkpoints / order.stage.digest).glob("epoch-*"))


def test_finishing_ends_the_running_stage_and_returns_the_rest(folder, executor):
    executor.submit(orders(folder, "teacher.training.epochs=12"))
    next_report(executor, "started")

    executor.finish()

    reports = reports_until(executor, lambda found: len(finals(found)) == 2)
    assert finals(reports) == [("attempt-0", "ended", "complete"), ("attempt-1", "returned", "")]
    assert executor.idle() == 0


def test_a_killed_executor_has_no_stage_running_and_may_be_killed_again(folder, executor):
    executor.submit(orders(folder, LONG))
    next_report(executor, "started")
    wait_for(lambda: "m" in kinds(folder, "attempt-0"))

    executor.kill()
    executor.kill()

    before = kinds(folder, "attempt-0")
    time.sleep(0.5)
    assert kinds(folder, "attempt-0") == before
    assert "z" not in before
    assert executor.idle() == 0


def test_executors_are_found_by_name_and_a_wrong_name_says_which_there_are(installed):
    assert executor_names() == ["local", FRESH_PROCESS, "broken"]
    with pytest.raises(UsageError, match="no executor is called 'slurm'") as caught:
        find_executor("slurm")
    assert caught.value.hint == "installed: local, fresh-process, broken"
    with pytest.raises(MachineError, match="'broken' cannot be loaded from fresh_process_that"):
        find_executor("broken")


def test_a_name_that_two_packages_give_is_refused(installed, tmp_path, monkeypatch):
    other = tmp_path / "other" / "other-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[icckd.executors]\nlocal = other:Executor\n")
    monkeypatch.syspath_prepend(other.parent)

    with pytest.raises(UsageError, match=r"several .* 'local': icckd.run.local.*, other:Executor"):
        find_executor("local")
