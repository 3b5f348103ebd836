"""SQL that somebody typed, in its own process: what it may do, what it is stopped from doing."""

import os
import signal
import threading
import time

import psutil
import pytest

from icckd.errors import UsageError
from icckd.results import sandbox as fence_module
from icckd.results.sandbox import Fence
from tests.support.lab import Lab, planned
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("fenced") / ".icckd")
    with made.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    return made.folder


@pytest.fixture(scope="module")
def fence(folder):
    with Fence(folder.root) as made:
        yield made


def answer(fence, sql, rows=100):
    return fence.ask(sql, rows=rows)[0].rows


def test_it_answers_and_cuts_long_answers(fence):
    table, is_cut = fence.ask("select arm, seed from trial order by 1, 2", rows=3)

    assert table.columns == ("arm", "seed")
    assert table.rows == (("full", 0), ("full", 1), ("no-cache", 0))
    assert is_cut
    odd = answer(fence, "select 'inf'::double, [1, 2], date '2026-01-01', null")
    assert odd == ((float("inf"), [1, 2], "2026-01-01", None),)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select * from read_csv('/etc/passwd')",
        "select * from glob('/*')",
        "from '/etc/passwd'",
        "copy (select 1) to '/tmp/fenced.csv'",
        "attach '/tmp/fenced.duckdb'",
        "export database '/tmp/fenced'",
        "install httpfs",
        "load httpfs",
        "load '/tmp/x.duckdb_extension'",
        "set enable_external_access = true",
        "reset lock_configuration",
        "pragma enable_profiling",
        "set temp_directory = '/tmp'",
        "drop table metric",
        "create table x as select 1",
        "insert into metric values ('a', 1, 'b', 2)",
        "with x as (insert into metric values ('a', 1, 'b', 2) returning 1) select * from x",
        "update metric set value = 0",
        "delete from metric",
        "call pragma_version()",
        "select 1; select 2",
        "",
    ],
)
def test_what_does_more_than_read_is_refused(fence, sql):
    before = answer(fence, "select count(*), sum(value) from metric")

    with pytest.raises(UsageError, match="SQL"):
        fence.ask(sql, rows=10)

    assert answer(fence, "select count(*), sum(value) from metric") == before
    assert not [name for name in os.listdir("/tmp") if name.startswith("fenced")]


def test_memory_is_bounded_and_the_next_question_is_answered(fence):
    for sql in (
        "select repeat('x', 3000000000)",
        "select list(a.range) from range(30000) a, range(30000) b",
    ):
        with pytest.raises(UsageError, match=r"SQL: "):
            fence.ask(sql, rows=10)
    assert answer(fence, "select 1") == ((1,),)


BURN = "select sum(sqrt(range)) from range(1000000000000)"


@pytest.mark.long
def test_cpu_time_is_bounded(folder):
    with Fence(folder.root) as fence:
        with pytest.raises(UsageError, match="5 s of CPU time"):
            fence.ask(BURN, rows=10)
        assert answer(fence, "select 1") == ((1,),)


def test_time_is_bounded(folder):
    with Fence(folder.root, wall_seconds=1.0) as fence:
        answer(fence, "select 1")
        started = time.monotonic()
        with pytest.raises(UsageError, match="stopped after 1 s"):
            fence.ask(BURN, rows=10)
        assert time.monotonic() - started < 10
        assert answer(fence, "select 1") == ((1,),)


def test_the_child_has_no_secrets_no_new_files_and_ends_with_its_parent(folder, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "do-not-show")
    with Fence(folder.root) as fence:
        answer(fence, "select 1")
        child = psutil.Process(fence._child.process.pid)
        assert "SOME_API_TOKEN" not in child.environ()
        limits = {name: child.rlimit(getattr(psutil, f"RLIMIT_{name}")) for name in
                  ("FSIZE", "AS", "NOFILE", "CPU")}  # fmt: skip
        assert limits["FSIZE"] == (0, 0)
        assert limits["AS"][1] < 8 << 30
        assert limits["NOFILE"][1] < 64
        assert limits["CPU"][0] < 60 + fence_module.CPU_SECONDS
    assert not child.is_running()


@pytest.fixture
def _heeded_interrupts():
    """Ctrl-C raises KeyboardInterrupt, also where tests run in a background that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_when_busy(child):
    """Press Ctrl-C when the child is at work on the question."""
    before = child.cpu_times().user
    wait_for(lambda: child.cpu_times().user > before + 0.1)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("_heeded_interrupts")
def test_a_question_can_be_interrupted(folder):
    with Fence(folder.root) as fence:
        answer(fence, "select 1")
        child = fence._child.process
        threading.Thread(target=interrupt_when_busy, args=(psutil.Process(child.pid),)).start()
        with pytest.raises(KeyboardInterrupt):
            fence.ask(BURN, rows=1)
        assert child.poll() is not None
        assert answer(fence, "select 2") == ((2,),)
