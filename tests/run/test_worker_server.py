"""Workers forked by a server that has loaded torch: the same bits, and nothing is left of them."""

import json
import os
import signal
from dataclasses import replace

import psutil
import pytest

from icckd.journal.artifacts import MANIFEST
from icckd.run.local import LocalExecutor
from tests.support.desk import Desk, attempts_begun, workers_of
from tests.support.executors import next_report, orders, reports_until
from tests.support.studies import BY_ITSELF, SMALL
from tests.support.waiting import wait_for

LONG = "teacher.training.epochs=20000"


@pytest.fixture
def executor_of(folder):
    """Make executors that end with the test."""
    made, before = [], servers()

    def make(capacity=1):
        each = LocalExecutor(
            capacity=capacity, device="cpu", gpus=(), threads=1, logs=folder.sessions
        )
        made.append(each)
        return each

    make.servers = lambda: [server for server in servers() if server not in before]
    yield make
    for each in made:
        each.kill()


@pytest.fixture
def desk(tmp_path, fresh_process):
    made = Desk(tmp_path)
    made.write(SMALL)
    return made


def servers(pid=None):
    """Return the servers that a process has, by default this one."""
    return [
        child
        for child in psutil.Process(pid).children()
        if "icckd.run.worker_server" in child.cmdline()
    ]


def pids(executor):
    return {worker.process.pid for worker in executor._workers.values()}


def long_orders(folder, count):
    """Return orders of teachers that train until they are ended, each of another seed."""
    found = [orders(folder, LONG, f"study.seeds.first={seed}")[0] for seed in range(count)]
    return [replace(order, attempt=f"attempt-{n}") for n, order in enumerate(found)]


def test_all_workers_come_from_one_server_which_ends_with_the_executor(folder, executor_of):
    executor = executor_of(2)
    first, second, third = long_orders(folder, 3)
    executor.submit([first])
    executor.submit([second])
    reports_until(executor, lambda found: len(found) == 2)
    [server] = executor_of.servers()
    assert {child.pid for child in server.children()} == pids(executor)
    assert all(os.getsid(pid) == pid for pid in pids(executor))

    victim = next(iter(pids(executor)))
    os.kill(victim, signal.SIGKILL)
    assert next_report(executor, "lost").reason == "worker killed by signal 9"
    executor.submit([third])
    next_report(executor, "started")
    assert {child.pid for child in server.children()} == pids(executor)
    assert victim not in pids(executor)

    executor.kill()
    assert not server.is_running()
    assert executor_of.servers() == []


def test_an_executor_that_is_killed_before_its_server_is_ready_returns_or_ends_everything(
    folder, executor_of
):
    executor = executor_of()
    executor.submit(long_orders(folder, 1))
    assert executor._workers[0].process.is_waiting

    executor.kill()

    assert executor_of.servers() == []
    assert not list(folder.attempts.iterdir())


@pytest.mark.slow
def test_a_worker_outlives_its_server_and_the_next_one_has_a_server_again(folder, executor_of):
    executor = executor_of(2)
    first, second = long_orders(folder, 2)
    executor.submit([first])
    next_report(executor, "started")
    [server] = executor_of.servers()

    server.kill()
    server.wait()
    executor.submit([second])
    next_report(executor, "started")

    [other] = executor_of.servers()
    assert other.pid != server.pid
    [old] = pids(executor) - {child.pid for child in other.children()}
    os.kill(old, signal.SIGTERM)
    lost = next_report(executor, "lost")
    assert lost.order == first


@pytest.mark.slow
def test_a_server_whose_source_changed_forks_no_more(folder, executor_of, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("")  # every Python imports it
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    executor = executor_of(3)
    first, second, third = long_orders(folder, 3)
    executor.submit([first])
    next_report(executor, "started")
    [server] = executor_of.servers()

    (tmp_path / "sitecustomize.py").write_text("# edited")
    executor.submit([second])
    next_report(executor, "started")
    assert not server.is_running()
    plain = psutil.Process(executor._workers[1].process.pid)
    assert plain.ppid() == os.getpid()
    assert "icckd.run.worker" in plain.cmdline()

    executor.submit([third])
    next_report(executor, "started")
    [other] = executor_of.servers()
    assert [child.pid for child in other.children()] == [executor._workers[2].process.pid]


@pytest.mark.slow
def test_forked_and_spawned_workers_leave_the_same_files(folder, executor_of, monkeypatch):
    def trained(executor, attempt):
        teacher, student = orders(folder)
        for order in (teacher, student):
            executor.submit([replace(order, attempt=f"{attempt}-{order.attempt}", force=True)])
            assert next_report(executor, "ended").state == "complete"
        return [
            json.loads((folder.artifacts / order.stage.digest / MANIFEST).read_text())["files"]
            for order in (teacher, student)
        ]

    forked = trained(executor_of(), "forked")
    assert len(executor_of.servers()) == 1
    monkeypatch.setenv("ICCKD_WORKERS", "spawn")
    spawned = trained(executor_of(), "spawned")

    assert len(executor_of.servers()) == 1
    assert forked == spawned
    assert "model.safetensors" in forked[0]


@pytest.mark.slow
def test_a_plug_in_is_imported_by_workers_and_not_by_the_server(folder, executor_of, tmp_path):
    mark = tmp_path / "marked.py"
    seen = tmp_path / "seen"
    mark.write_text(f"import os\nopen({str(seen)!r}, 'a').write(f'{{os.getpid()}} ')\n")
    executor = executor_of()
    [order] = long_orders(folder, 1)
    executor.submit([replace(order, plugins=(f"file:{mark}",))])
    next_report(executor, "started")
    wait_for(seen.exists)

    assert {int(pid) for pid in seen.read_text().split()} == pids(executor)
    [server] = executor_of.servers()
    assert {child.pid for child in server.children()} == pids(executor)


@pytest.mark.slow
def test_a_killed_session_leaves_neither_server_nor_worker(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 100000") + BY_ITSELF)
    session = desk.start("run", "small.toml", "-j", "2")
    wait_for(lambda: len(attempts_begun(desk)) == 2, process=session)
    left = [*servers(session.pid), *workers_of(session)]
    assert len(left) == 3

    session.kill()
    session.communicate()
    for each in left:
        wait_for(lambda each=each: not each.is_running() or each.status() == "zombie")
