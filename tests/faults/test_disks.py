"""Power cuts, full disks, disks that fail: what was acknowledged stays (P2, P3)."""

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from icckd.journal.events import LogLine
from icckd.journal.file import SYNC_SECONDS, DiskRetry, JournalWriter, read_chunk
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.results.store import Store
from tests.faults.disks import make_image, mounted, tmpfs
from tests.faults.storm import Nursery, Tally, check_artifacts, shim
from tests.support.disks import fill


def cut_power(tmp_path: Path, cuts: int, *, seed: int) -> tuple[int, int]:
    """Copy the disk's image under living writers, at random moments, and recover each copy.

    The copy holds what had reached the disk, and not what only the file system's cache knew: a
    power cut. Returns lines acknowledged as durable and artifacts, over all cuts.
    """
    image, chance = tmp_path / "image", random.Random(seed)
    make_image(image, megabytes=96)
    acknowledged = artifacts = 0
    with mounted(image, tmp_path / "disk") as disk:
        folder, acks = StateFolder(disk / "state"), tmp_path / "acks"
        folder.create()
        with Nursery(folder, acks) as nursery:
            for number in range(3):
                nursery.start("emit", str(acks), number, 0.06, 0.01)
            nursery.start("own")
            nursery.start("hand_in", str(acks), 0)
            for _ in range(cuts):
                time.sleep(chance.uniform(0.1, 0.4))
                nursery.signal_all(signal.SIGSTOP)
                copy_at_rest(image, tmp_path / "cut")
                shutil.copytree(acks, tmp_path / "promised", dirs_exist_ok=True)
                with mounted(tmp_path / "cut", tmp_path / "after") as after:
                    left = StateFolder(after / "state")
                    tally = Tally(left, tmp_path / "promised", durable_only=True)
                    tally.check()
                    acknowledged += tally.acknowledged
                    artifacts += check_artifacts(left, tmp_path / "promised")
                nursery.signal_all(signal.SIGCONT)
    return acknowledged, artifacts


def copy_at_rest(image: Path, copy: Path) -> None:
    """Copy an image between two of its writes."""
    while True:
        before = image.stat().st_mtime_ns
        shutil.copyfile(image, copy)
        if image.stat().st_mtime_ns == before:
            return


@pytest.mark.slow
def test_eight_power_cuts_lose_nothing_that_was_acknowledged_as_durable(tmp_path):
    acknowledged, artifacts = cut_power(tmp_path, 8, seed=3)

    assert acknowledged > 100
    assert artifacts > 8


@pytest.mark.long
def test_two_hundred_power_cuts(tmp_path):
    acknowledged, artifacts = 0, 0
    for part in range(10):
        (tmp_path / str(part)).mkdir()
        found = cut_power(tmp_path / str(part), 20, seed=part)
        acknowledged, artifacts = acknowledged + found[0], artifacts + found[1]
        shutil.rmtree(tmp_path / str(part))
        print(f"{20 * (part + 1)} cuts, {acknowledged} durable lines, {artifacts} artifacts")


def test_a_line_is_durable_soon_after_it_was_appended(tmp_path):
    with JournalWriter(tmp_path / "j") as journal:
        journal.append(LogLine(text="a"))
        assert journal.durable == 0
        end = time.monotonic() + 50 * SYNC_SECONDS
        while journal.durable < 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert journal.durable == 1
        journal.append(LogLine(text="b"), durable=True)
        assert journal.durable == 2


def test_a_journal_without_a_thread_of_its_own_syncs_at_every_append(tmp_path, monkeypatch):
    """A process that is out of memory cannot start one, and has that very thing to tell."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with JournalWriter(tmp_path / "j") as journal:
        journal.append(LogLine(text="a"))
        assert journal.durable == 1
        journal.append(LogLine(text="b"), LogLine(text="c"))
        assert journal.durable == 3

    assert len(read_chunk(tmp_path / "j").lines) == 3


@pytest.mark.slow
def test_twenty_full_disks_in_a_row_stall_a_writer_and_lose_nothing(tmp_path):
    """The writer goes on by itself each time when there is room; so does the owner's database."""
    told, notices = [], []
    with tmpfs(tmp_path / "small", megabytes=12) as disk:
        folder = StateFolder(disk / "state")
        folder.create()
        home = folder.sessions / "s"
        home.mkdir()

        def stalled(why):
            told.append(why)
            (disk / "filler").unlink(missing_ok=True)

        disk_retry = DiskRetry(stalled=stalled, give_up=lambda: False)
        with (
            JournalWriter(home / JOURNAL, disk_retry=disk_retry) as journal,
            Store.open_file(folder, notice=notices.append) as store,
        ):
            for cycle in range(20):
                write_lines(journal, cycle)
                fill(disk / "filler")
                store.ingest()
                assert not store.is_on_file
                write_lines(journal, cycle)
                store._file_wanted_at = 0.0  # no test waits for a clock
                store.ingest()
                assert store.is_on_file
                rows = store.select("select count(*) from log_line")[0][0]
                assert rows == 40 * (cycle + 1) == journal.count
        lines = read_chunk(home / JOURNAL).lines

    assert [line.sequence for line in lines] == list(range(800))
    assert told == ["stalled: No space left on device", ""] * 20
    assert notices[1::2] == ["the database takes rows again"] * 20


def write_lines(journal, cycle):
    for number in range(20):
        journal.append(LogLine(text=f"{cycle} {number} " + "x" * 200), durable=number % 10 == 0)


def armed(tmp_path, body):
    """Run a script with the shim in a process of its own; return what it printed."""
    script = "import ctypes, sys\nfrom pathlib import Path\narm = ctypes.CDLL(None).fault_arm\n"
    done = subprocess.run(
        [sys.executable, "-c", script + textwrap.dedent(body), str(tmp_path)],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "LD_PRELOAD": str(shim()), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("call", "action", "kept"),
    [("write", "short", 10), ("write", "eio", 9), ("sync", "eio", 9), ("write", "enospc", 9)],
)
def test_a_disk_that_fails_or_takes_half_leaves_whole_lines(tmp_path, call, action, kept):
    [count, refused] = armed(
        tmp_path,
        f"""
        from icckd.errors import MachineError
        from icckd.journal.events import LogLine
        from icckd.journal.file import JournalWriter
        refused = 0
        with JournalWriter(Path(sys.argv[1]) / "j") as journal:
            arm(b"{call}", b"/j", 4, b"{action}", 1)
            for number in range(10):
                try:
                    journal.append(LogLine(text=f"line {{number}}"), durable=True)
                except MachineError:
                    refused += 1
            print(journal.count, refused)
        """,
    )

    chunk = read_chunk(tmp_path / "j")
    assert [line.sequence for line in chunk.lines] == list(range(kept))
    assert (chunk.bad_lines, int(count), int(refused)) == (0, kept, 10 - kept)
    assert chunk.end == (tmp_path / "j").stat().st_size


def test_a_background_sync_that_fails_is_told_at_the_next_append(tmp_path):
    [words] = armed(
        tmp_path,
        """
        import time
        from icckd.errors import MachineError
        from icckd.journal.events import LogLine
        from icckd.journal.file import JournalWriter
        journal = JournalWriter(Path(sys.argv[1]) / "j")
        arm(b"sync", b"/j", 0, b"eio", 1)
        journal.append(LogLine(text="a"))
        while journal._failed is None:
            time.sleep(0.01)
        try:
            journal.append(LogLine(text="b"))
        except MachineError:
            print("refused", journal.durable, sep=":")
        """,
    )

    assert words == "refused:0"
