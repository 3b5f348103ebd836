"""Whole runs, training real networks, killed and starved: the outcome is that of a quiet run."""

import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from icckd.journal.folder import JOURNAL
from tests.cli.conftest import SMALL, Desk
from tests.faults.disks import tmpfs
from tests.store.test_damage import fill, noise

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
def quiet(tmp_path_factory):
    """A run that nobody disturbs: its table and its weights."""
    desk = desk_in(tmp_path_factory.mktemp("quiet"))
    return desk.run("run", "small.toml").stdout, weights(desk)


def epochs_so_far(desk: Desk) -> int:
    journals = (desk.state / "attempts").glob(f"*/{JOURNAL}")
    return sum(path.read_bytes().count(b'"k":"m"') for path in journals)


def wait_for_epochs(desk: Desk, session, more: int) -> bool:
    """Wait until some epochs were recorded; return whether the session still runs."""
    wanted = epochs_so_far(desk) + more
    while session.poll() is None and epochs_so_far(desk) < wanted:
        time.sleep(0.01)
    return session.poll() is None


def workers_of(session):
    with_children = psutil.Process(session.pid).children()
    return [child for child in with_children if "icckd.worker" in " ".join(child.cmdline())]


def kill_worker(desk, session):
    for worker in workers_of(session)[:1]:
        worker.kill()


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


def disturb(desk: Desk, troubles, *, chance: random.Random) -> tuple[list[str], int]:
    """Run the study to its end, with a trouble after some epochs each.

    Returns what was said, and how many troubles there were before the end.
    """
    said, happened = [], 0
    session = desk.start("run", "small.toml")
    for trouble in troubles:
        if not wait_for_epochs(desk, session, chance.randint(1, 7)):
            break
        trouble(desk, session)
        happened += 1
        if trouble in (kill_session, kill_all):
            said.append(session.communicate()[1])
            session = desk.start("run", "small.toml")
    said.append(session.communicate(timeout=300)[1])
    assert session.returncode == 0, said
    return said, happened


def test_a_run_killed_and_robbed_of_its_database_ends_like_a_quiet_one(tmp_path, quiet):
    table, expected = quiet
    desk = desk_in(tmp_path / "desk")

    said, happened = disturb(desk, [kill_worker, spoil_database, kill_all], chance=random.Random(4))

    assert happened == 3
    assert weights(desk) == expected
    assert desk.run("report").stdout == table
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
        assert desk.run("report").stdout == table
        assert desk.run("fsck").stdout.splitlines()[-1].startswith("whole: ")


def test_a_run_on_a_full_disk_stalls_says_so_and_goes_on_by_itself(tmp_path, quiet):
    table, expected = quiet
    with tmpfs(tmp_path / "small", megabytes=48) as small:
        desk = desk_in(tmp_path / "desk")
        desk.environment["ICCKD_HOME"] = str(small / "state")
        session = desk.start("run", "small.toml")
        while not (small / "state" / "attempts").is_dir():
            time.sleep(0.01)
        desk_of_state = Desk(small, environment=desk.environment)
        (small / ".icckd").symlink_to("state")
        assert wait_for_epochs(desk_of_state, session, 2)
        fill(small / "filler")
        shown = ""
        while "stalled: No space left on device" not in shown:
            shown = desk.run("status").stdout
            assert session.poll() is None
        assert "running" in shown
        stuck = epochs_so_far(desk_of_state)
        time.sleep(0.5)
        assert epochs_so_far(desk_of_state) == stuck, "training pauses"
        (small / "filler").unlink()

        out, err = session.communicate(timeout=300)
        assert session.returncode == 0, err
        assert out == table
        assert weights(desk_of_state) == expected
        assert "stalled: No space left on device" in err
        assert "the disk was full" in desk.run("logs", "-n", "1000").stdout
