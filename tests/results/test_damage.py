"""The database is disposable: whatever becomes of its file, the rows are those of the journals."""

import contextlib
import os
import random
import shutil

import pytest

from icckd.journal.folder import JOURNAL
from icckd.journal.owner import owner_lock
from icckd.results.store import Store
from tests.faults.disks import tmpfs
from tests.support.disks import fill, noise
from tests.support.lab import Lab
from tests.support.rows import busy, contents, in_memory


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(b"something else" * 1000)
    other.rename(path)


DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "replaced": replaced,
    "truncated to nothing": lambda path: os.truncate(path, 0),
    "truncated in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "noise": noise,
    "noise in the blocks": lambda path: noise(path, 3 * 4096),
}


def without_database(folder):
    with in_memory(folder) as store:
        return contents(store)


@pytest.mark.slow
def test_an_owner_whose_file_is_damaged_while_it_works_loses_nothing(lab):
    plan = busy(lab)
    with owner_lock(lab.folder):
        for number, (name, damage) in enumerate(DAMAGE.items(), start=3):
            notices = []
            with Store.open_file(lab.folder, notice=notices.append) as store:
                store.ingest()
            with Store.open_file(lab.folder, notice=notices.append) as store:
                store.ingest()
                damage(lab.folder.database)
                with lab.finished(f"s{number}", plan) as session:
                    session.train(session.stage("no-cache", 2))
                store.ingest()
                whole = without_database(lab.folder)
                assert contents(store) == whole, name
            with Store.open_file(lab.folder, notice=notices.append) as store:
                store.ingest()
                assert contents(store) == whole, name

            assert any("rebuilding from the journals" in notice for notice in notices), name


@pytest.mark.slow
def test_a_reader_who_finds_a_damaged_file_reads_the_same_rows(lab):
    busy(lab)
    whole = without_database(lab.folder)
    for name, damage in DAMAGE.items():
        with owner_lock(lab.folder), Store.open_file(lab.folder) as store:
            store.ingest()
        damage(lab.folder.database)

        with owner_lock(lab.folder), Store.open_file(lab.folder) as store:
            store.ingest()
            store.leave_file()
            assert contents(store) == whole, name


def flip(lab, count, seed):
    """Change a few bytes at a random place, then read everything; `count` times."""
    busy(lab)
    chance = random.Random(seed)
    with owner_lock(lab.folder):
        with Store.open_file(lab.folder) as store:
            store.ingest()
        whole = without_database(lab.folder)
        good = lab.folder.root / "good.duckdb"
        shutil.copyfile(lab.folder.database, good)
        for _ in range(count):
            shutil.copyfile(good, lab.folder.database)
            place = chance.randrange(good.stat().st_size)
            with lab.folder.database.open("r+b") as file:
                file.seek(place)
                file.write(chance.randbytes(chance.randint(1, 64)))
            with Store.open_file(lab.folder) as store:
                store.ingest()
                store.leave_file()
                assert contents(store) == whole, f"flipped at {place}"


@pytest.mark.slow
def test_bytes_changed_at_random_places_of_the_file_change_no_row(lab):
    flip(lab, 6, seed=1)


@pytest.mark.long
def test_bytes_changed_at_a_hundred_places_change_no_row(lab):
    flip(lab, 100, seed=2)


def test_a_write_ahead_log_without_its_database_is_not_taken_for_another_ones(lab):
    busy(lab)
    with owner_lock(lab.folder):
        store = Store.open_file(lab.folder)
        store.ingest()
        log = lab.folder.database.with_name("icckd.duckdb.wal")
        shutil.copyfile(log, lab.folder.root / "kept")
        store.close()
        lab.folder.database.unlink()
        (lab.folder.root / "kept").rename(log)
        notices = []
        with Store.open_file(lab.folder, notice=notices.append) as store:
            store.ingest()
            assert contents(store) == without_database(lab.folder)
    assert "write-ahead log" in notices[0]


@pytest.mark.parametrize("loss", ["a journal cut", "a journal gone"])
def test_a_database_that_is_ahead_of_its_journals_is_replaced(lab, loss):
    busy(lab)
    with owner_lock(lab.folder):
        with Store.open_file(lab.folder) as store:
            store.ingest()
        home = sorted(lab.folder.attempts.iterdir())[3]
        if loss == "a journal cut":
            data = (home / JOURNAL).read_bytes()
            (home / JOURNAL).write_bytes(data[: data.find(b"\n", len(data) // 2) + 1])
        else:
            shutil.rmtree(home)
        notices = []
        with Store.open_file(lab.folder, notice=notices.append) as store:
            store.ingest()
            assert contents(store) == without_database(lab.folder)
    assert "holds what its journals do not" in notices[0]


@contextlib.contextmanager
def lab_on_a_small_disk(small, roomy):
    """Yield a state folder on a small disk whose journals lie on another one."""
    root = small / ".icckd"
    root.mkdir()
    for group in ("sessions", "attempts"):
        (roomy / group).mkdir()
        (root / group).symlink_to(roomy / group)
    lab = Lab(root)
    with owner_lock(lab.folder):
        yield lab


@pytest.mark.slow
def test_an_owner_on_a_full_disk_goes_on_in_memory_and_returns_to_its_file(tmp_path):
    with (
        tmpfs(tmp_path / "small", megabytes=16) as small,
        lab_on_a_small_disk(small, tmp_path) as lab,
    ):
        plan = busy(lab)
        notices = []
        with Store.open_file(lab.folder, notice=notices.append, chunk_bytes=2000) as store:
            fill(small / "filler")
            store.ingest()
            assert not store.is_on_file
            assert contents(store) == without_database(lab.folder)
            (small / "filler").unlink()
            store._file_wanted_at = 0.0  # no test waits for a clock
            with lab.finished("s3", plan) as session:
                session.train(session.stage("no-cache", 2))
            store.ingest()
            assert store.is_on_file
            assert contents(store) == without_database(lab.folder)
    assert "No space left" in notices[0]
    assert notices[1:] == ["the database takes rows again"]
