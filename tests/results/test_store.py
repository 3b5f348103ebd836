import os
import random
import socket
import subprocess
import sys
import textwrap
import threading

import duckdb
import pytest

from icckd.errors import MachineError, UsageError
from icckd.journal import owner
from icckd.journal.events import SessionHeader
from icckd.journal.file import encode
from icckd.journal.folder import JOURNAL
from icckd.journal.owner import owner_is_alive, owner_lock, try_owner_lock
from icckd.results.database import VIEWS, about_views
from icckd.results.store import Store
from tests.support.lab import planned
from tests.support.rows import FACTS, busy, contents, in_memory

BLOCK = 1 << 18  # of DuckDB's memory


def test_rows_come_once_however_often_one_looks(lab):
    busy(lab)
    with in_memory(lab.folder) as store:
        before = contents(store)

        assert store.ingest() == frozenset()
        assert contents(store) == before
        assert len(before["attempt"]) == 30 + 1 + 3
        assert len(before["metric"]) == len(set(before["metric"]))


def test_deleting_the_database_and_rebuilding_gives_the_same_rows(lab):
    busy(lab)
    with owner_lock(lab.folder):
        with Store.open_file(lab.folder) as store:
            store.ingest()
            before = contents(store)
        with Store.open_file(lab.folder) as store:
            store.ingest()
            assert contents(store) == before
        lab.folder.database.unlink()
        with Store.open_file(lab.folder) as store:
            store.ingest()
            assert contents(store) == before
    with in_memory(lab.folder) as store:
        assert contents(store) == before


@pytest.mark.parametrize(
    ("seed", "chunk"),
    [*(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 1), (2, 900))), (3, 4000)],
)
def test_order_of_journals_and_size_of_chunks_do_not_matter(lab, seed, chunk):
    busy(lab)
    journals = list(lab.folder.journals())
    random.Random(seed).shuffle(journals)
    with in_memory(lab.folder) as store, Store.in_memory(lab.folder, chunk_bytes=chunk) as other:
        other.ingest(lambda: journals)
        assert contents(other) == contents(store)


def test_journals_are_taken_in_as_they_grow_and_the_owner_can_die_between(lab):
    """Every prefix of the history: take in what is there, forget the connection, go on."""
    busy(lab)
    with in_memory(lab.folder) as store:
        whole = contents(store)
    journals = {path: path.read_bytes() for path in lab.folder.journals()}
    for path in journals:
        path.write_bytes(b"")
    with owner_lock(lab.folder):
        for share in (0.2, 0.5, 0.77, 1.0):
            for path, data in journals.items():
                path.write_bytes(data[: int(len(data) * share)])
            with Store.open_file(lab.folder, chunk_bytes=500) as store:
                assert store.ingest()
        with Store.open_file(lab.folder) as store:
            assert store.ingest() == frozenset()
            assert contents(store) == whole


def test_an_owner_killed_at_any_time_leaves_each_line_once(lab):
    busy(lab)
    script = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        import icckd.results.ingest as ingest
        from icckd.journal.folder import StateFolder
        from icckd.results.store import Store
        commits, limit = 0, int(sys.argv[2])
        real = ingest.Ingester._commit
        def commit(self, *args):
            global commits
            if commits == limit:
                os._exit(9)
            real(self, *args)
            commits += 1
        ingest.Ingester._commit = commit
        Store.open_file(StateFolder(Path(sys.argv[1])), chunk_bytes=700).ingest()
    """)
    for limit in (0, 3, 1):
        result = subprocess.run(
            [sys.executable, "-c", script, str(lab.folder.root), str(limit)],
            capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert result.returncode == 9, result.stderr
    with (
        owner_lock(lab.folder),
        Store.open_file(lab.folder) as store,
        in_memory(lab.folder) as whole,
    ):
        assert store.ingest()
        assert contents(store, FACTS) == contents(whole, FACTS)


def test_damaged_lines_are_counted_and_the_others_kept(lab):
    busy(lab)
    with in_memory(lab.folder) as store:
        rows = store.select("select name, bad_lines, bad_bytes from journal where bad_lines > 0")

        assert len(rows) == 1
        assert rows[0][1] == 1
        assert rows[0][2] > 50
        epochs = store.select("select distinct epoch from metric where attempt = ?", [rows[0][0]])
        assert len(epochs) == 3


def test_a_line_that_has_no_place_in_its_journal_is_bad(lab):
    busy(lab)
    name = next(lab.folder.attempts.iterdir()).name
    copy = lab.folder.attempts / "copied-by-hand"
    copy.mkdir()
    data = (lab.folder.attempts / name / JOURNAL).read_bytes()
    (copy / JOURNAL).write_bytes(data.splitlines(keepends=True)[0] * 2)
    stray = lab.folder.sessions / "stray"
    stray.mkdir()
    (stray / JOURNAL).write_bytes(data)
    with in_memory(lab.folder) as store:
        bad = dict(store.select("select name, bad_lines from journal where bad_lines > 1"))

        assert bad["copied-by-hand"] == 2
        assert bad["stray"] > 2
        assert store.select("select count(*) from attempt where attempt = 'copied-by-hand'") == [
            (0,)
        ]


def test_closed_journals_are_not_looked_at_again(lab, monkeypatch):
    with lab.finished("s1", planned()) as session:
        session.train_all()
    import icckd.results.ingest as ingest

    with in_memory(lab.folder) as store:
        monkeypatch.setattr(ingest, "read_chunk", lambda *_: pytest.fail("it was read again"))
        for path in lab.folder.journals():
            path.unlink()
        assert store.ingest() == frozenset()


def test_both_duckdb_lines_can_read_the_file(lab):
    busy(lab)
    with owner_lock(lab.folder), Store.open_file(lab.folder) as store:
        store.ingest()
        version = store.select(
            "select tags['storage_version'] from duckdb_databases() where database_name = 'store'"
        )

    assert "v1.5" in str(version)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "foreign", "older"])
def test_an_unreadable_database_is_moved_aside_and_rebuilt(lab, damage):
    busy(lab)
    with owner_lock(lab.folder):
        with Store.open_file(lab.folder) as store:
            store.ingest()
            before = contents(store)
        if damage == "garbage":
            lab.folder.database.write_bytes(b"no database" * 1000)
        elif damage == "truncated":
            lab.folder.database.write_bytes(lab.folder.database.read_bytes()[:5000])
        else:
            with duckdb.connect(lab.folder.database) as connection:
                tables = "create table a (b integer)"
                older = "update made_by set tables = 'older'"
                connection.execute(older if damage == "older" else tables)
                if damage == "foreign":
                    connection.execute("drop table made_by")
        notices = []
        with Store.open_file(lab.folder, notice=notices.append) as store:
            store.ingest()
            assert contents(store) == before

    assert len(notices) == 1
    assert "quarantine" in notices[0]
    assert (lab.folder.quarantine / "icckd-1.duckdb").exists()


@pytest.mark.slow
def test_a_database_that_another_program_has_open_is_done_without_until_it_is_free(
    lab, monkeypatch
):
    monkeypatch.setattr("icckd.results.store.RETURN_SECONDS", 0.0)
    busy(lab)
    notices = []
    with owner_lock(lab.folder):
        with Store.open_file(lab.folder) as store:
            store.ingest()
            before = contents(store)
        script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True)"
        script += "; sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", script, str(lab.folder.database)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as other:  # fmt: skip
            assert other.stdout.readline() == "open\n"
            store = Store.open_file(lab.folder, notice=notices.append)
            store.ingest()
            assert (store.is_on_file, contents(store)) == (False, before)
            other.stdin.close()
        with store:
            store.ingest()
            assert (store.is_on_file, contents(store)) == (True, before)

    assert "Could not set lock" in notices[0]
    assert "rows are kept in memory until it is free" in notices[0]
    assert notices[1:] == ["the database takes rows again"]
    assert not lab.folder.quarantine.exists()


@pytest.mark.slow
def test_a_database_that_refuses_rows_is_given_up_and_nothing_is_lost(lab):
    busy(lab)
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from icckd.journal.folder import StateFolder
        from icckd.results.store import Store
        folder = StateFolder(Path(sys.argv[1]))
        store = Store.open_file(folder, notice=print)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        store.ingest()
        print(store.is_on_file, store.select("select count(*) from attempt")[0][0])
    """)
    result = subprocess.run(
        [sys.executable, "-c", script, str(lab.folder.root)],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip

    assert "refuses rows" in result.stdout, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "False 34"
    with (
        owner_lock(lab.folder),
        Store.open_file(lab.folder) as store,
        in_memory(lab.folder) as whole,
    ):
        store.ingest()
        assert contents(store) == contents(whole)


def test_leaving_the_file_keeps_rows_and_place(lab):
    plan = busy(lab)
    with owner_lock(lab.folder), Store.open_file(lab.folder) as store:
        store.ingest()
        before = contents(store)
        store.leave_file()

        assert contents(store) == before
        assert store.ingest() == frozenset()
        with lab.finished("s3", plan) as session:
            session.train(session.stage("no-cache", 2))
        assert store.ingest()
        with Store.open_file(lab.folder):
            pass  # the file is free again


def test_threads_get_their_own_rows(lab):
    busy(lab)
    wrong = []
    with in_memory(lab.folder) as store:

        def look(number):
            for _ in range(40):
                if store.select("select ? from session limit 1", [number]) != [(number,)]:
                    wrong.append(number)

        threads = [threading.Thread(target=look, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []


def test_the_owner_lock_is_exclusive_and_dies_with_its_holder(lab):
    said = []
    script = "from icckd.journal.owner import *; from icckd.journal.folder import StateFolder\n" \
        "import sys, pathlib\nwith owner_lock(StateFolder(pathlib.Path(sys.argv[1]))):\n" \
        "    print('held', flush=True); sys.stdin.read()"  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", script, str(lab.folder.root)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as holder:  # fmt: skip
        assert holder.stdout.readline() == "held\n"
        assert owner_is_alive(lab.folder)
        with try_owner_lock(lab.folder) as mine:
            assert not mine

        def waiting():
            said.append("waiting")
            holder.kill()

        with owner_lock(lab.folder, waiting=waiting):
            pass
        holder.stdin.close()

    assert said == ["waiting"]
    assert not owner_is_alive(lab.folder)


def test_looking_for_an_owner_never_makes_one_wait(lab):
    said = []
    stop = threading.Event()

    def look():
        while not stop.is_set():
            owner_is_alive(lab.folder)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(30):
            with owner_lock(lab.folder, waiting=lambda: said.append("waiting")):
                pass
    finally:
        stop.set()
        thread.join()

    assert said == []


def test_without_a_lock_file_there_is_no_owner(tmp_path):
    from icckd.journal.folder import StateFolder

    folder = StateFolder(tmp_path / "none")

    assert not owner_is_alive(folder)
    with try_owner_lock(folder) as mine:
        assert not mine
    with pytest.raises(MachineError, match="lock"), owner_lock(folder):
        pass


@pytest.mark.parametrize(
    ("who", "live"),
    [("this process", True), ("dead", False), ("other host", True), ("boot", False)],
)
def test_a_session_is_live_while_its_process_holds_the_lock(lab, monkeypatch, who, live):
    dead = subprocess.Popen(["true"])
    dead.wait()
    if who == "other host":
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    session = lab.session("s1", planned(), pid=dead.pid if who in ("dead", "other host") else None)
    session.journal.close()
    monkeypatch.undo()
    if who == "boot":
        monkeypatch.setattr("icckd.results.ingest.boot_id", lambda: "another boot")
    with in_memory(lab.folder) as store:
        assert store.select("from live_session") == []
        with owner_lock(lab.folder):
            store.ingest()
            assert bool(store.select("from live_session")) == live
        store.ingest()
        assert store.select("from live_session") == []


FORBIDDEN = [
    "drop table metric", "delete from metric", "insert into recorded values ('a', 'b', 1.0)",
    "update metric set value = 0", "create table x (a integer)", "create macro f(x) as x",
    "with x as (insert into recorded values ('a', 'b', 1.0) returning *) from x",
    "explain analyze delete from metric", "copy metric to '/tmp/out.csv'",
    "attach '/tmp/x.duckdb' as x", "install httpfs", "load httpfs",
    "set threads = 4", "reset threads", "call pragma_version()", "begin transaction", "commit",
    "select 1; drop table metric", "select 1; select 2", "", "-- nothing", "selec 1",
    "select * from read_text('/etc/passwd')", "select * from '/etc/passwd'",
    "select * from read_csv('/etc/passwd')", "select * from glob('/*')", "select * from lab",
    "export database '/tmp/out'", "checkpoint", "vacuum", "use memory", "detach store",
    "prepare p as select 1", "execute p", "select ?",
]  # fmt: skip


@pytest.mark.parametrize("on_file", [False, True])
def test_sql_of_a_user_can_harm_nothing(lab, on_file):
    busy(lab)
    with owner_lock(lab.folder):
        store = Store.open_file(lab.folder) if on_file else Store.in_memory(lab.folder)
        with store:
            store.ingest()
            before = contents(store, FACTS)
            for sql in FORBIDDEN if not on_file else FORBIDDEN[5:7]:
                with pytest.raises(UsageError, match="SQL"):
                    store.ask(sql, rows=1000)
            assert contents(store, FACTS) == before


READING = [
    "from comparison", "select 1 as a;", "show tables", "describe outcome", "summarize metric",
    "explain from trial", "with a as (select 1) from a", "values (1)",
    "pivot comparison on arm in ('full') using sum(mean)",
]  # fmt: skip


def test_sql_of_a_user_can_read(lab):
    busy(lab)
    with in_memory(lab.folder) as store:
        for sql in READING:
            answer = store.ask(sql, rows=1000)
            assert answer.columns
            assert all(len(row) == len(answer.columns) for row in answer.rows)


def test_every_view_says_what_it_holds_and_its_grain():
    about = dict(about_views())

    assert tuple(about) == VIEWS
    assert all("Grain: " in text for text in about.values())


def test_no_name_is_a_keyword_of_an_older_duckdb():
    from icckd.results import database

    sql = "\n".join(p.read_text() for p in database._HERE.rglob("*.sql"))

    assert sql == sql.lower() or not any(
        word in sql.split() for word in ("SELECT", "FROM", "CREATE", "WHERE")
    )
    for name in ("key", "last"):
        assert f" as {name}" not in sql
        assert f"    {name} " not in sql


def test_a_session_of_another_machine_on_a_network_file_system_is_not_run_over(lab, monkeypatch):
    """There its locks may not be seen; on a local disk, or once that machine is said off, they are.

    No network file system is mounted here: only the name of one is.
    """
    session = lab.session("s1", planned(seeds=(0,)), ordinal=1)
    elsewhere = lab.folder.sessions / "s2"
    with lab.writer(elsewhere) as journal:
        header = SessionHeader(
            session="s2", study="x", revision="r", arguments=[], host="far-away", boot="b", pid=1,
            version="0.1.0", ordinal=2,
        )  # fmt: skip
        journal.append(header)
    session.end()
    with owner_lock(lab.folder):
        pass
    monkeypatch.setattr(owner, "network_file_system", lambda folder: "nfs4")

    with pytest.raises(MachineError, match="ran on far-away") as caught, owner_lock(lab.folder):
        pass
    with try_owner_lock(lab.folder) as is_ours:
        assert not is_ours
    assert "if far-away is off: icckd run --take-over" in caught.value.hint
    with owner_lock(lab.folder, take_over=True):
        pass
    with (elsewhere / JOURNAL).open("ab") as file:
        file.write(encode("Z", 1, 9e9, {"exit_code": 0, "count": 1}))
    with owner_lock(lab.folder):
        pass


def test_a_viewers_memory_does_not_grow_with_the_times_it_looked(lab):
    def table_bytes(store):
        """Return the bytes of all tables, which DuckDB takes in blocks."""
        asked = "select sum(memory_usage_bytes) from duckdb_memory() where tag like '%TABLE%'"
        return store.select(asked)[0][0]

    with lab.finished("s1", planned(seeds=range(20))) as session:
        stages = [session.stage(trial.arm, trial.seed) for trial in session.plan.trials]
        with Store.in_memory(lab.folder) as store:
            store.ingest()
            sizes = []
            for _ in range(3):
                for stage in stages[:15]:
                    session.say(stage, "pending")
                    assert store.ingest()
                sizes.append(table_bytes(store))
    assert sizes[-1] <= sizes[0] + BLOCK, sizes
