"""Whole runs, training real networks, killed and starved: the outcome is that of a quiet run."""

import contextlib
import json
import os
import random
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from icckd.journal.file import Line, read_chunk
from icckd.journal.live_status import read_live_status
from tests.faults.disks import tmpfs
from tests.support.desk import Desk, epochs_recorded, journals, wait_for_epochs, workers_of
from tests.support.disks import fill, noise
from tests.support.studies import SMALL
from tests.support.waiting import wait_for

STUDY = SMALL.replace("epochs = 2", "epochs = 16").replace("count = 2", "count = 1")


def desk_in(folder: Path) -> Desk:
    folder.mkdir(exist_ok=True)
    made = Desk(folder, environment={"ICCKD_CHECKPOINT_SECONDS": "0.1"})
    made.write(STUDY)
    return made


def weights(desk: Desk) -> dict[str, str]:
    """SHA-256 of every model, by stage."""
    return {
        path.parent.name: json.loads(path.read_text())["files"]["model.safetensors"]
        for path in (desk.state / "artifacts").glob("*/manifest.json")
    }


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, fresh_process):
    """A run that nobody disturbs: its table and its weights."""
    desk = desk_in(tmp_path_factory.mktemp("quiet"))
    return without_times(desk.train("run", "small.toml", "-j", "2").stdout), weights(desk)


def without_times(report: str) -> str:
    """Return a report without how long more seeds would train: that follows from measured times."""
    answers, title, table = report.partition("\nstudy small")
    known = re.sub(r", about [^,.;]*? of training", "", " ".join(answers.split()))
    return known + title + table


def unfinished(desk: Desk) -> dict[str, tuple[Line, ...]]:
    """Return the lines of the attempts that have begun and not ended."""
    found = {path.parent.name: read_chunk(path).lines for path in journals(desk)}
    return {name: lines for name, lines in found.items() if lines and lines[-1].kind != "z"}


def kill_worker(desk, session):
    """Kill the process of the attempt that is furthest from its end: it surely trains."""
    if running := unfinished(desk):
        header = min(running.values(), key=len)[0].body
        with contextlib.suppress(ProcessLookupError):
            os.kill(header["pid"], signal.SIGKILL)


def kill_session(desk, session):
    session.kill()


def kill_all(desk, session):
    doomed = workers_of(session)
    session.kill()
    for worker in doomed:
        worker.kill()


def sleep(desk, session):
    processes = [session, *workers_of(session)]
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.5)
    for process in processes:
        os.kill(process.pid, signal.SIGCONT)


def delete_database(desk, session):
    (desk.state / "icckd.duckdb").unlink(missing_ok=True)


def spoil_database(desk, session):
    database = desk.state / "icckd.duckdb"
    while not database.exists() and session.poll() is None:
        time.sleep(0.01)  # it was deleted a moment ago, and the owner makes it anew
    if database.exists():
        noise(database)


KINDS = [kill_worker, delete_database, kill_session, spoil_database, sleep, kill_all]


def disturb(desk: Desk, troubles, *, chance: random.Random, jobs: int = 2) -> tuple[list[str], int]:
    """Run the study to its end, with a trouble after some epochs each.

    Returns what was said, and how many troubles there were before the end.
    """
    said, happened, command = [], 0, ("run", "small.toml", "-j", str(jobs))
    session = desk.start(*command)
    for trouble in troubles:
        if not wait_for_epochs(desk, session, chance.randint(1, 7)):
            break
        trouble(desk, session)
        happened += 1
        if trouble in (kill_session, kill_all):
            said.append(session.communicate()[1])
            session = desk.start(*command)
    said.append(session.communicate(timeout=300)[1])
    assert session.returncode == 0, said
    return said, happened


@pytest.mark.long
def test_a_run_killed_and_robbed_of_its_database_ends_like_a_quiet_one(tmp_path, quiet):
    table, expected = quiet
    desk = desk_in(tmp_path / "desk")

    troubles = [kill_worker, spoil_database, kill_all]
    said, happened = disturb(desk, troubles, chance=random.Random(4), jobs=1)

    assert happened == 3
    assert weights(desk) == expected
    assert without_times(desk.run("report").stdout) == table
    assert any("killed by signal 9; trying again" in text for text in said)
    assert any("rebuilding from the journals" in text for text in said)
    done = desk.run("fsck")
    assert done.stdout.splitlines()[-1].startswith("whole: ")
    assert not list((desk.state / "checkpoints").glob("*"))


@pytest.mark.long
def test_forty_troubles_in_a_row_end_like_a_quiet_run(tmp_path, quiet):
    """Prints how many there were. Every run has every kind of trouble, in an order of its own."""
    (table, expected), part, happened = quiet, 0, 0
    while happened < 40:
        part += 1
        desk, chance = desk_in(tmp_path / str(part)), random.Random(part)
        happened += disturb(desk, chance.sample(KINDS, k=len(KINDS)), chance=chance)[1]
        print(f"{happened} troubles in {part} runs")
        assert weights(desk) == expected
        assert without_times(desk.run("report").stdout) == table
        assert desk.run("fsck").stdout.splitlines()[-1].startswith("whole: ")


@pytest.mark.slow
def test_a_run_on_a_full_disk_stalls_says_so_and_goes_on_by_itself(tmp_path, quiet):
    table, expected = quiet
    with tmpfs(tmp_path / "small", megabytes=48) as small:
        desk = desk_in(tmp_path / "desk")
        desk.environment["ICCKD_HOME"] = str(small / "state")
        (small / ".icckd").symlink_to("state")
        desk_of_state = Desk(small, environment=desk.environment)
        session = desk.start_forked("run", "small.toml", "-j", "2")
        assert wait_for_epochs(desk_of_state, session, 2)
        wait_for(partial(every_writer_stands_still, desk_of_state, small / "filler"))
        shown = desk.run("status").stdout
        assert "stalled: No space left on device" in shown
        assert "running" in shown
        stuck = epochs_recorded(desk_of_state)
        time.sleep(0.5)
        assert session.poll() is None
        assert epochs_recorded(desk_of_state) == stuck, "training pauses"
        for filler in small.glob("filler-*"):
            filler.unlink()

        out, err = session.communicate(timeout=300)
        assert session.returncode == 0, err
        assert without_times(out) == table
        assert weights(desk_of_state) == expected
        assert "stalled: No space left on device" in err
        assert "the disk was full" in desk.run("logs", "-n", "1000").stdout


def every_writer_stands_still(desk, filler) -> bool:
    """Fill the disk, with what a writer freed since, too; whether nothing goes on any more."""
    fill(filler.with_name(f"{filler.name}-{time.monotonic_ns()}"))
    before = epochs_recorded(desk)
    time.sleep(0.2)
    [home] = (desk.state / "sessions").iterdir()
    stalled, running = read_live_status(home).stalled, unfinished(desk)
    return bool(running) and running.keys() <= stalled.keys() and epochs_recorded(desk) == before
