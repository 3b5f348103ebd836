"""How GPUs are dealt out to workers, and what follows when one fails. Real processes, no GPU.

The stand-in of `tests/support` says which GPUs there are; the CPU trains.
"""

import itertools
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from icckd.errors import MachineError
from icckd.journal.file import read_chunk
from icckd.journal.folder import JOURNAL
from icckd.resources import visible_gpus
from icckd.run import local
from icckd.run.local import LocalExecutor
from icckd.study.numerics import numerics_class
from icckd.study.training import Numerics
from tests.support.executors import next_report, orders, reports_until
from tests.support.gpus import A100, H100, Machine, gpu, instance

ILLEGAL = "CUDA error: an illegal memory access was encountered"
ASSERT = "CUDA error: device-side assert triggered"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    def make(*gpus, visible=None, **more):
        made = Machine(tmp_path / "machine.json", *gpus, **more)
        made.enter(monkeypatch, visible)
        return made

    return make


@pytest.fixture
def executor_of(folder):
    made = []

    def make(capacity):
        made.append(
            LocalExecutor(
                capacity=capacity, device="cuda", gpus=visible_gpus(), threads=1,
                logs=folder.sessions, notice=notices.append,
            )
        )  # fmt: skip
        return made[-1]

    notices: list[str] = []
    make.notices = notices
    yield make
    for executor in made:
        executor.kill()


def on_cuda(folder, *overrides):
    numerics = numerics_class(Numerics(), "cuda")
    return [
        replace(order, stage=replace(order.stage, numerics=numerics))
        for order in orders(folder, "numerics.packing=off", *overrides)
    ]


def environment(worker) -> dict[str, str]:
    """Return the environment that the process really has."""
    file = Path(f"/proc/{worker.process.pid}/environ")
    end = time.monotonic() + 10
    while not (text := file.read_text()) and time.monotonic() < end:
        time.sleep(0.001)  # the kernel is still setting the program up
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


def seen_by(executor) -> list[str]:
    return [environment(w)["CUDA_VISIBLE_DEVICES"] for w in executor._workers.values()]


def words(reports):
    return [(r.order.attempt, r.what, r.state, r.cause) for r in reports]


MACHINES = {
    "one": ([gpu(1)], None, 2, [1, 1]),
    "two": ([gpu(1), gpu(2)], None, 2, [1, 2]),
    "two, three workers": ([gpu(1), gpu(2)], None, 3, [1, 2, 1]),
    "mixed": ([gpu(1, A100), gpu(2), gpu(3, A100)], None, 3, [1, 2, 3]),
    "eight": ([gpu(n) for n in range(8)], None, 8, list(range(8))),
    "by index": ([gpu(1), gpu(2), gpu(3)], "2,0", 3, [3, 1, 3]),
    "by UUID": ([gpu(1), gpu(2), gpu(3)], gpu(2)["uuid"], 2, [2, 2]),
    "an invalid entry": ([gpu(1), gpu(2), gpu(3)], "1,9,0", 2, [2, 2]),
}


@pytest.mark.parametrize("name", MACHINES)
def test_each_worker_sees_the_uuid_of_one_visible_gpu(machine, executor_of, folder, name):
    gpus, visible, capacity, expected = MACHINES[name]
    machine(*gpus, visible=visible)
    executor = executor_of(capacity)

    for _ in range(capacity):
        executor.submit(on_cuda(folder))

    assert seen_by(executor) == [gpu(number)["uuid"] for number in expected]


def test_workers_are_given_all_mig_instances(machine, executor_of, folder):
    parts = [instance(n) for n in (1, 2, 3)]
    machine(gpu(1, mig=parts[:2]), gpu(2, mig=parts[2:]), gpu(3))
    executor = executor_of(4)

    for _ in range(4):
        executor.submit(on_cuda(folder))

    assert seen_by(executor) == [*(part["uuid"] for part in parts), gpu(3)["uuid"]]


def test_a_worker_on_a_cpu_sees_no_gpu(machine, folder):
    machine(gpu(1))
    executor = LocalExecutor(
        capacity=1, device="cpu", gpus=visible_gpus(), threads=1, logs=folder.sessions
    )
    executor.submit(orders(folder))
    next_report(executor, "started")

    assert seen_by(executor) == [""]
    executor.kill()


@pytest.mark.parametrize("seed", range(4))
def test_a_new_worker_gets_the_gpu_with_the_fewest_staying_workers_whoever_came_and_went(
    machine, executor_of, folder, seed, monkeypatch
):
    """Workers are told to leave, are killed and are started again, in any order."""
    monkeypatch.setattr(local, "MAX_STARTS_WITHOUT_WORK", 1000)  # nobody here lives to begin
    chance = random.Random(seed)
    machine(*(gpu(n) for n in range(3)))
    executor = executor_of(6)
    stages = on_cuda(folder)
    uuids = [each.uuid for each in visible_gpus()]
    starts = 0
    for step in itertools.count():
        if step >= 60 and starts > 10:
            break
        assert step < 2000
        workers = list(executor._workers.values())
        staying = Counter(w.gpu.uuid for w in workers if not w.stdin.closed)
        action = chance.choice(("submit", "submit", "kill", "retire", "wait"))
        if action == "submit" and executor.idle():
            executor.submit(stages)
            new = [w for w in executor._workers.values() if w not in workers]
            for worker in new:
                fewest = min(staying[each] for each in uuids)
                given = environment(worker)["CUDA_VISIBLE_DEVICES"]
                assert given == next(each for each in uuids if staying[each] == fewest)
            starts += len(new)
        elif action == "kill" and workers:
            chance.choice(workers).process.kill()
        elif action == "retire":
            for worker in workers:  # as if their lists were done
                if chance.random() < 0.3:
                    worker.orders = []
            executor.retire()
        else:
            executor.wait(0.05)
        live = Counter(w.gpu.uuid for w in executor._workers.values() if not w.stdin.closed)
        assert sum(live.values()) <= 6


@pytest.mark.slow
def test_a_worker_whose_gpu_failed_ends_and_its_stage_goes_to_another_gpu(
    machine, executor_of, folder
):
    fault = {"message": ILLEGAL, "is_sticky": True, "times": 3}
    machine(gpu(1, fault=fault), gpu(2))
    executor = executor_of(2)
    first, second = on_cuda(folder)
    executor.submit([first, second])
    [worker] = executor._workers.values()

    reports = reports_until(executor, lambda found: len(found) == 3)

    assert words(reports) == [
        ("attempt-0", "started", "", None), ("attempt-0", "ended", "failed", "device"),
        ("attempt-1", "returned", "", None),
    ]  # fmt: skip
    assert reports[1].reason == f"{H100} ({gpu(1)['uuid']}): {ILLEGAL}"
    assert worker.process.wait(0) == 4
    assert not (folder.attempts / "attempt-1").exists()
    *_, logged, closed = read_chunk(folder.attempts / "attempt-0" / JOURNAL).lines
    assert closed.body["state"] == "failed"
    assert closed.body["failure"]["cause"] == "device"
    assert closed.body["failure"]["type"] == "AcceleratorError"
    assert closed.body["failure"]["message"] == reports[1].reason
    assert reports[1].reason in logged.body["text"]

    executor.submit([replace(first, attempt="again"), second])
    assert seen_by(executor) == [gpu(2)["uuid"]]
    reports = reports_until(executor, lambda found: len(found) == 4)
    assert words(reports)[1::2] == [
        ("again", "ended", "complete", None), ("attempt-1", "ended", "complete", None),
    ]  # fmt: skip
    assert executor_of.notices == []


@pytest.mark.slow
def test_a_full_memory_costs_no_worker_and_a_failed_assertion_in_a_kernel_is_a_bug_that_does(
    machine, executor_of, folder
):
    message = "CUDA out of memory. Tried to allocate 2.00 GiB."
    made = machine(gpu(1, fault={"message": message, "class": "OutOfMemoryError"}))
    executor = executor_of(1)
    first, second = on_cuda(folder)
    executor.submit([first])
    [worker] = executor._workers.values()

    reports = reports_until(executor, lambda found: len(found) == 2)

    assert words(reports)[1] == ("attempt-0", "ended", "failed", "out-of-memory")
    assert psutil.Process(worker.process.pid).status() != psutil.STATUS_ZOMBIE

    made.change(0, fault={"message": ASSERT, "is_sticky": True, "times": 2})
    executor.submit([replace(first, attempt="again"), second])
    assert list(executor._workers.values()) == [worker]
    reports = reports_until(executor, lambda found: len(found) == 3)

    assert words(reports)[1:] == [
        ("again", "ended", "failed", "bug"), ("attempt-1", "returned", "", None),
    ]  # fmt: skip
    assert executor._workers == {}


@pytest.mark.slow
def test_a_gpu_that_is_lost_under_a_stage_is_left_out_and_the_other_goes_on(
    machine, executor_of, folder
):
    made = machine(gpu(1), gpu(2))
    executor = executor_of(2)
    first, second = on_cuda(folder, "teacher.training.epochs=2000")
    executor.submit([first, second])
    reports_until(executor, lambda found: len(found) == 1)

    made.change(0, lost=True)
    reports = reports_until(executor, lambda found: len(found) == 2)

    assert words(reports) == [
        ("attempt-0", "ended", "failed", "device"), ("attempt-1", "returned", "", None),
    ]  # fmt: skip
    label = f"{H100} ({gpu(1)['uuid']})"
    assert reports[0].reason == f"{label}: CUDA error: unspecified launch failure"
    assert executor_of.notices == [f"{label} is left out from now on: GPU is lost"]
    assert executor.capacity == 1  # as many a GPU as before
    for _ in range(executor.idle()):
        executor.submit([second])
    assert seen_by(executor) == [gpu(2)["uuid"]]


@pytest.mark.slow
def test_a_worker_that_dies_with_its_gpu_loses_its_stage_to_the_gpu(machine, executor_of, folder):
    made = machine(gpu(1))
    executor = executor_of(1)
    executor.submit(on_cuda(folder, "teacher.training.epochs=2000"))
    reports_until(executor, lambda found: len(found) == 1)
    [worker] = executor._workers.values()
    os.kill(worker.process.pid, signal.SIGSTOP)  # it dies before it can see that the GPU is gone
    made.change(0, lost=True)
    worker.process.kill()

    reports = reports_until(executor, lambda found: len(found) == 2)

    assert words(reports)[0] == ("attempt-0", "lost", "", "device")
    assert reports[0].reason == (
        f"{H100} ({gpu(1)['uuid']}): GPU is lost, worker killed by signal 9"
    )
    assert executor.idle() == 0
    with pytest.raises(MachineError, match=r"no GPU is left; NVIDIA H100.*: GPU is lost") as caught:
        executor.wait(0)
    assert "what is finished is kept" in caught.value.hint


@pytest.mark.long
def test_a_gpu_that_worker_after_worker_cannot_use_is_left_out(machine, executor_of, folder):
    """NVML sees nothing wrong. No attempt begins and none is lost."""
    refused = "CUDA error: system not yet initialized"
    machine(gpu(1, torch=refused), gpu(2))
    executor = executor_of(2)
    first, second = on_cuda(folder)

    for _ in range(3):
        assert executor_of.notices == []
        executor.submit([first])
        assert seen_by(executor) == [gpu(1)["uuid"]]
        reports = reports_until(executor, lambda found: len(found) == 1)
        assert words(reports) == [("attempt-0", "returned", "", None)]
        assert reports[0].reason == f"{H100} ({gpu(1)['uuid']}) cannot be used: {refused}"

    assert executor_of.notices == [f"{H100} ({gpu(1)['uuid']}) is left out from now on: {refused}"]
    executor.submit([first])
    assert seen_by(executor) == [gpu(2)["uuid"]]
    reports = reports_until(executor, lambda found: len(found) == 2)
    assert words(reports)[1] == ("attempt-0", "ended", "complete", None)
    assert second.attempt == "attempt-1"


def test_workers_that_crash_on_one_gpu_end_neither_the_run_nor_the_worker_on_another(
    machine, executor_of, folder
):
    """As when the driver brings down every process that opens the device."""
    machine(gpu(1), gpu(2))
    executor = executor_of(2)
    stages = on_cuda(folder)
    executor.submit(stages)
    first = next(iter(executor._workers.values()))
    for _ in range(3):
        executor.submit(stages)
        [crashing] = [w for w in executor._workers.values() if w is not first]
        assert crashing.gpu.uuid == gpu(2)["uuid"]
        os.kill(crashing.process.pid, signal.SIGSEGV)
        reports = reports_until(executor, lambda found: any(r.what == "returned" for r in found))
        assert "worker killed by signal 11" in reports[-1].reason

    assert f"{gpu(2)['uuid']}) is left out from now on: worker killed" in executor_of.notices[0]
    assert list(executor._workers.values()) == [first]


@pytest.mark.long
def test_a_gpu_that_takes_no_second_process_keeps_its_first(machine, executor_of, folder):
    """In exclusive mode every further process is refused."""
    made = machine(gpu(1))
    executor = executor_of(2)
    first, second = on_cuda(folder, "teacher.training.epochs=20000")
    executor.submit([first])
    reports_until(executor, lambda found: len(found) == 1)
    busy = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
    made.change(0, torch=busy)
    executor.submit([second])

    reports = reports_until(executor, lambda found: len(found) == 1)

    assert words(reports) == [("attempt-1", "returned", "", None)]
    assert executor_of.notices == [f"{H100} ({gpu(1)['uuid']}) takes no further worker: {busy}"]
    assert (executor.capacity, executor.idle()) == (1, 0)
    [worker] = executor._workers.values()
    assert psutil.Process(worker.process.pid).status() != psutil.STATUS_ZOMBIE
