"""What one look at a state folder costs: new lines and open journals, however much is done."""

import contextlib
import os
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random

import pytest

import icckd.results.ingest as ingest
from icckd.journal.events import LogLine
from icckd.journal.folder import StateFolder
from icckd.journal.listing import JournalListing
from icckd.journal.owner import owner_lock
from icckd.results.store import Store
from tests.support.lab import Lab, planned
from tests.support.rows import FACTS, busy, contents, in_memory


class Counting:
    """Counts what ingesting asks of the system and of the database."""

    def __init__(self, monkeypatch):
        self.counts: Counter[str] = Counter()
        read_chunk, stat, scandir = ingest.read_chunk, os.stat, os.scandir

        def counted_chunk(path, start, limit):
            chunk = read_chunk(path, start, limit)
            self.counts["files read"] += 1
            self.counts["bytes"] += chunk.end - start
            return chunk

        def counted_stat(path, **more):
            self.counts["stat"] += 1
            return stat(path, **more)

        def counted_scan(path):
            entries = list(scandir(path))
            self.counts["names"] += len(entries)
            return scandir(path)

        monkeypatch.setattr(ingest, "read_chunk", counted_chunk)
        monkeypatch.setattr(os, "stat", counted_stat)
        monkeypatch.setattr(os, "scandir", counted_scan)

    def of(self, act) -> dict[str, int]:
        self.counts.clear()
        act()
        return dict(self.counts)


class CountedConnection:
    """A connection that counts its statements."""

    def __init__(self, connection):
        self._connection = connection
        self.statements = 0

    def execute(self, *arguments):
        self.statements += 1
        return self._connection.execute(*arguments)

    def __getattr__(self, name):
        return getattr(self._connection, name)


def running(lab, seeds):
    """A session of so many seeds, all complete but the last stage, which has an epoch."""
    plan = planned(seeds=range(seeds))
    session = lab.session("s1", plan)
    last = plan.trials[-1]
    session.train_all(skip=[(last.arm, last.seed)])
    session.train(session.stage(last.arm, last.seed), until=1, end=None)
    return session


def tick_costs(root, seeds, monkeypatch):
    """What looking costs while nothing is new, and after one line more; SQL statements too."""
    lab = Lab(root)
    session = running(lab, seeds)
    now = 0.0
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "JournalListing", partial(JournalListing, clock=lambda: now))
        store = in_memory(lab.folder)
        now = 10.0
        store.ingest()
        counting = Counting(patched)
        store._connection = connection = CountedConnection(store._connection)
        idle = counting.of(store.ingest), connection.statements
        session.journal.append(LogLine(text="one line more"))
        connection.statements = 0
        return idle, (counting.of(store.ingest), connection.statements)


def test_a_look_costs_the_same_however_many_attempts_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(os, "fdatasync", lambda file: None)
    few = tick_costs(tmp_path / "few", 2, monkeypatch)
    many = tick_costs(tmp_path / "many", 12, monkeypatch)

    assert all(costs[1][0].pop("bytes") < 200 for costs in (few, many))
    assert few == many
    (idle, statements), (growing, _) = many
    assert "names" not in idle  # no folder was listed
    assert "files read" not in idle
    assert statements <= 8
    assert growing["files read"] == 1


def test_what_was_read_is_not_read_again(lab, monkeypatch):
    session = running(lab, 2)
    size = sum(path.stat().st_size for path in lab.folder.journals())
    counting = Counting(monkeypatch)
    with Store.in_memory(lab.folder) as store:
        assert counting.of(store.ingest)["bytes"] == size
        assert counting.of(store.ingest).get("bytes", 0) == 0
        session.journal.append(LogLine(text="one line more"))
        now = sum(path.stat().st_size for path in lab.folder.journals())
        assert counting.of(store.ingest)["bytes"] == now - size


def test_states_in_the_file_are_made_again_only_for_what_they_do_not_speak_of(lab, monkeypatch):
    said = []
    say = Store._say_states
    monkeypatch.setattr(Store, "_say_states", lambda self: said.append(1) or say(self))

    def opened():
        said.clear()
        with owner_lock(lab.folder), Store.open_file(lab.folder) as store:
            store.ingest()
            return len(said), store.select("select state, count(*) from stage_now group by all")

    session = running(lab, 2)
    _, states = opened()
    assert opened() == (0, states)

    with monkeypatch.context() as patched, owner_lock(lab.folder):
        session.train(session.stage("no-cache", 1, 1))
        patched.setattr(Store, "_say_states", lambda self: pytest.fail("killed here"))
        with Store.open_file(lab.folder) as store, pytest.raises(pytest.fail.Exception):
            store.ingest()  # has taken the rows in, and dies before it has said what they make

    times, after = opened()
    assert times == 1
    assert sorted(after) != sorted(states)
    with owner_lock(lab.folder), in_memory(lab.folder) as fresh:
        expected = fresh.select("select state, count(*) from stage_now group by all")
    assert sorted(after) == sorted(expected)


@pytest.mark.parametrize("on_file", [pytest.param(True, marks=pytest.mark.slow), False])
def test_states_are_those_of_all_rows_in_whatever_pieces_the_journals_came(lab, tmp_path, on_file):
    """What only went on is written at its stage alone; nothing of that may differ."""
    with lab.finished("s1", planned(seeds=(0,))) as first:
        lost = first.train(first.stage("full", 0), until=1, end=None)
        first.say(first.stage("full", 0), "pending", attempt=lost, reason="killed; trying again")
        first.train(first.stage("full", 0))
        first.train(first.stage("full", 0, 1), until=1, end="failed")
    with lab.finished("s2", planned(seeds=(0,))) as second:
        second.train(second.stage("full", 0, 1))
    again, random = StateFolder(tmp_path / "again"), Random(on_file)
    again.create()
    lines = {path: path.read_bytes().splitlines(keepends=True) for path in lab.folder.journals()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(owner_lock(again))
        make = Store.open_file if on_file else Store.in_memory
        store = stack.enter_context(make(again))
        wholly = stack.enter_context(counted(store, "_say_states"))
        looks = 0
        while lines:
            for _ in range(random.randint(1, 5)):
                path = random.choice(list(lines)) if lines else None
                if path is not None:
                    target = again.root / path.relative_to(lab.folder.root)
                    target.parent.mkdir(exist_ok=True)
                    with target.open("ab") as file:
                        file.write(lines[path].pop(0))
                    lines = {path: left for path, left in lines.items() if left}
            looks += 1
            store.ingest()
            for said, follows in (("stage_now", "stage_state"), ("revision", "revision_state")):
                now = [sorted(map(repr, store.select(f"from {name}"))) for name in (said, follows)]
                assert now[0] == now[1]
    assert len(wholly) < looks


@contextlib.contextmanager
def counted(store, name):
    """Count the calls of a method."""
    calls, method = [], getattr(store, name)
    setattr(store, name, lambda: (calls.append(1), method())[1])
    yield calls
    delattr(store, name)


def test_few_rows_and_many_are_stored_alike(lab, monkeypatch):
    busy(lab)
    found = []
    for least in (1, 10**9):
        monkeypatch.setattr(ingest, "MANY", least)
        with in_memory(lab.folder) as store:
            found.append(contents(store, FACTS))
    assert found[0] == found[1]


@pytest.mark.parametrize("many", [1, 10**9])
def test_a_batch_whose_commit_fails_is_read_again(lab, monkeypatch, many):
    busy(lab)
    monkeypatch.setattr(ingest, "MANY", many)
    with in_memory(lab.folder) as whole, Store.in_memory(lab.folder) as store:
        add = ingest._Table.add
        failures = iter([RuntimeError("no room")])

        def refused(self, connection, rows):
            add(self, connection, rows)
            for error in failures:
                raise error

        monkeypatch.setattr(ingest._Table, "add", refused)
        with pytest.raises(RuntimeError):
            store.ingest()
        store.ingest()
        assert contents(store, FACTS) == contents(whole, FACTS)


def test_an_attempt_of_a_name_that_leads_elsewhere_is_not_read(lab):
    session = lab.session("s1", planned())
    elsewhere = Path("../sessions/s1")
    session.say(session.stage("full", 0), "running", attempt=str(elsewhere))
    with in_memory(lab.folder) as store:
        assert store.select("select count(*) from journal") == [(1,)]
