"""Journals and their projection: append, take in, rebuild, take over, read meanwhile (P6, P7, P12).

    python bench/journal_time.py [rounds]

A record is one epoch with eight metrics, thus eight rows. Each figure stands beside a plain
counterpart measured in the same run: `json` and `write` on a file, or Python's sqlite3 with its
write-ahead log. Times are wall times; disks are shared with whatever else runs.
"""

import fcntl
import json
import multiprocessing
import os
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from timing import interleaved, ratio, write_result

from icckd.journal.events import AttemptHeader, EpochMetrics
from icckd.journal.file import JournalWriter
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.owner import owner_lock
from icckd.results.store import Store

METRICS = [f"teacher.m{number}" for number in range(8)]
RECORDS, DURABLE = 2000, 200
JOURNALS, EPOCHS = 20, 6250
TAKEOVERS = 30
WATCH_SECONDS = 5.0
SPAWN = multiprocessing.get_context("spawn")


def values(epoch: int) -> dict[str, float]:
    """Return the metrics of an epoch."""
    return {name: epoch * 0.001 + number / 7 for number, name in enumerate(METRICS)}


def new_folder(root: Path) -> StateFolder:
    """Return a fresh state folder."""
    folder = StateFolder(Path(tempfile.mkdtemp(dir=root)))
    folder.create()
    return folder


def journal_in(folder: StateFolder, name: str) -> JournalWriter:
    """Return an attempt's journal with its header."""
    home = folder.attempts / name
    home.mkdir()
    journal = JournalWriter(home / JOURNAL)
    journal.append(
        AttemptHeader(
            attempt=name, session="s", stage="0", kind="teacher", shape="", seed=0, replicate=0,
            epochs=1, settings={}, inputs={}, fingerprint="", numerics={}, code_epoch=1, host="",
            boot="", pid=1, environment={},
        )
    )  # fmt: skip
    return journal


def sqlite_in(root: Path, *, durable: bool) -> sqlite3.Connection:
    """Return a SQLite database with a write-ahead log."""
    handle, name = tempfile.mkstemp(dir=root, suffix=".sqlite")
    os.close(handle)
    connection = sqlite3.connect(name, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
    connection.execute("create table metric (attempt text, epoch int, metric text, value double)")
    return connection


def appending(root: Path, count: int, *, durable: bool) -> dict[str, Callable[[], None]]:
    """Return what appends records one by one: our journal, a plain file, SQLite."""

    def ours() -> None:
        with journal_in(new_folder(root), "a") as journal:
            for epoch in range(count):
                journal.append(EpochMetrics(epoch=epoch, values=values(epoch)), durable=durable)

    def plain() -> None:
        handle, _ = tempfile.mkstemp(dir=root)
        for epoch in range(count):
            line = json.dumps({"epoch": epoch, "values": values(epoch)}) + "\n"
            os.write(handle, line.encode())
            if durable:
                os.fdatasync(handle)
        os.close(handle)

    def sqlite() -> None:
        connection = sqlite_in(root, durable=durable)
        for epoch in range(count):
            rows = [("a", epoch, name, value) for name, value in values(epoch).items()]
            connection.execute("begin")
            connection.executemany("insert into metric values (?, ?, ?, ?)", rows)
            connection.execute("commit")
        connection.close()

    return {"icckd": ours, "json, write": plain, "sqlite3": sqlite}


def filled(root: Path) -> StateFolder:
    """Return a state folder whose journals hold a million rows."""
    folder = new_folder(root)
    for number in range(JOURNALS):
        with journal_in(folder, f"a{number}") as journal:
            for first in range(0, EPOCHS, 250):
                epochs = range(first, first + 250)
                journal.append(*(EpochMetrics(epoch=e, values=values(e)) for e in epochs))
    return folder


def taking_in(root: Path, folder: StateFolder) -> dict[str, Callable[[], None]]:
    """Return what makes a database of these journals: ours in memory and on file, SQLite."""

    def rebuild() -> None:
        with Store.in_memory(folder) as store:
            store.ingest()
            assert store.select("select count(*) from metric") == [(JOURNALS * EPOCHS * 8,)]

    def on_file() -> None:
        for path in folder.root.glob("icckd.duckdb*"):
            path.unlink()
        with owner_lock(folder), Store.open_file(folder) as store:
            store.ingest()

    def sqlite() -> None:
        connection = sqlite_in(root, durable=True)
        for path in folder.journals():
            rows = []
            for line in path.read_bytes().splitlines():
                told = json.loads(line)
                for name, value in told.get("values", {}).items():
                    rows.append((path.parent.name, told["epoch"], name, value))
            connection.execute("begin")
            connection.executemany("insert into metric values (?, ?, ?, ?)", rows)
            connection.execute("commit")
        connection.close()

    return {"icckd, in memory": rebuild, "icckd, on file": on_file, "sqlite3": sqlite}


def own(root: str, out: str) -> None:
    """Own a state folder, and note when the first rows were taken in; then go on."""
    folder = StateFolder(Path(root))
    waits = Path(f"{out}-waits")
    with owner_lock(folder, waiting=lambda: _note(waits)), Store.open_file(folder) as store:
        store.ingest()
        _note(Path(out))
        while True:
            if not store.ingest():
                time.sleep(0.02)


def hold(root: str, out: str) -> None:
    """Hold a plain flock, and note since when."""
    handle = os.open(f"{root}/plain.lock", os.O_RDWR | os.O_CREAT)
    _note(Path(f"{out}-waits"))
    fcntl.flock(handle, fcntl.LOCK_EX)
    _note(Path(out))
    time.sleep(3600)


def _note(path: Path) -> None:
    aside = path.with_suffix(".aside")
    aside.write_text(repr(time.monotonic()))
    aside.rename(path)


def takeovers(root: Path, role: Callable[[str, str], None]) -> list[float]:
    """Kill whoever holds a folder, again and again; return seconds until the standby took over."""
    folder, found = new_folder(root), []
    with journal_in(folder, "a") as journal:
        journal.append(*(EpochMetrics(epoch=e, values=values(e)) for e in range(2000)))
        first = _start(role, folder, 0)
        _noted(_out(folder, 0))
        for number in range(1, TAKEOVERS + 1):
            standby = _start(role, folder, number)
            _noted(f"{_out(folder, number)}-waits")
            time.sleep(0.2)
            journal.append(EpochMetrics(epoch=2000 + number, values=values(number)))
            assert first.pid is not None
            killed = time.monotonic()
            os.kill(first.pid, signal.SIGKILL)
            found.append(_noted(_out(folder, number)) - killed)
            first.join()
            first = standby
        first.kill()
        first.join()
    return found


def _start(
    role: Callable[[str, str], None], folder: StateFolder, number: int
) -> multiprocessing.process.BaseProcess:
    process = SPAWN.Process(target=role, args=(str(folder.root), _out(folder, number)), daemon=True)
    process.start()
    return process


def _out(folder: StateFolder, number: int) -> str:
    return str(folder.root / f"noted-{number}")


def _noted(name: str) -> float:
    path = Path(name)
    while not path.exists():
        time.sleep(0.001)
    return float(path.read_text())


def look(root: str, out: str) -> None:
    """Read a state folder as a report does, again and again; note each time what it took."""
    folder, times = StateFolder(Path(root)), []
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        start = time.perf_counter()
        with Store.in_memory(folder) as store:
            store.ingest()
            store.select("select attempt, avg(value) from metric group by attempt")
        times.append(time.perf_counter() - start)
    Path(out).write_text(json.dumps(times))


def watched(root: Path, *, readers: int, owner: bool) -> tuple[list[float], list[float]]:
    """Append 100 records a second while others look; return append and reading times."""
    folder, appends = new_folder(root), []
    with journal_in(folder, "a") as journal:
        journal.append(*(EpochMetrics(epoch=e, values=values(e)) for e in range(2000)))
        if owner:
            owning = _start(own, folder, 0)
            _noted(_out(folder, 0))
        looking = [_start(look, folder, number + 1) for number in range(readers)]
        end = time.monotonic() + WATCH_SECONDS + (2.0 if readers else 0.0)
        epoch = 2000
        while time.monotonic() < end:
            start = time.perf_counter()
            journal.append(EpochMetrics(epoch=epoch, values=values(epoch)))
            appends.append(time.perf_counter() - start)
            epoch += 1
            time.sleep(0.01)
        for process in looking:
            process.join()
        if owner:
            owning.kill()
            owning.join()
    reads = [json.loads(Path(_out(folder, n + 1)).read_text()) for n in range(readers)]
    return appends, [seconds for times in reads for seconds in times]


def quantiles(times: list[float]) -> str:
    """Return median, 95th and 99th percentile and largest of times, in milliseconds."""
    if not times:
        return "- | - | - | -"
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    found = (statistics.median(times), cuts[94], cuts[98], max(times))
    return " | ".join(f"{1e3 * seconds:.2f}" for seconds in found)


def rates(runs: dict[str, Callable[[], None]], rounds: int, count: int, unit: str) -> list[str]:
    """Return a table of rates, the first against the others."""
    times = interleaved(runs, rounds=rounds, cpu_time=False)
    ours = next(iter(runs))
    return [
        f"| | {unit} a second | time of {ours} / its time |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {count / statistics.median(times[name]):,.0f} |"
            f" {ratio(times, ours, name):.2f} |"
            for name in runs
        ),
        "",
    ]


def main() -> None:
    """Measure and write the result."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    head = "| | median ms | p95 ms | p99 ms | largest ms |"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        loads = [os.getloadavg()[0]]
        lines = [f"Appended one by one, {RECORDS} records, kill-safe when the call returns:", ""]
        lines += rates(appending(root, RECORDS, durable=False), rounds, RECORDS, "records")
        lines += [f"The same, {DURABLE} records, durable when the call returns:", ""]
        lines += rates(appending(root, DURABLE, durable=True), rounds, DURABLE, "records")
        rows = JOURNALS * EPOCHS * 8
        lines += [f"{JOURNALS} journals of {rows:,} rows in all, taken in from nothing:", ""]
        lines += rates(taking_in(root, filled(root)), min(rounds, 3), rows, "rows")
        lines += [f"SIGKILL of the owner until the standby has taken in all, {TAKEOVERS} times:"]
        lines += ["", head, "| --- | --- | --- | --- | --- |"]
        lines += [f"| icckd | {quantiles(takeovers(root, own))} |"]
        lines += [f"| a plain flock alone | {quantiles(takeovers(root, hold))} |", ""]
        lines += ["One append at 100 a second, and one reading of all (a report's database):"]
        lines += ["", head, "| --- | --- | --- | --- | --- |"]
        for owner, readers in ((False, 0), (True, 0), (False, 1), (True, 1), (True, 2)):
            appends, reads = watched(root, readers=readers, owner=owner)
            who = f"{'an' if owner else 'no'} owner, {readers} readers"
            lines += [f"| append, {who} | {quantiles(appends)} |"]
            lines += [f"| reading, {who} | {quantiles(reads)} |"] if readers else []
        loads.append(os.getloadavg()[0])
    words = " and ".join(f"{load:.1f}" for load in loads)
    lines += ["", f"Load average of the machine before and after: {words}; medians of {rounds}"
              f" rounds (taking in: {min(rounds, 3)}), in turns."]  # fmt: skip
    write_result("journal-time", lines)


if __name__ == "__main__":
    main()
