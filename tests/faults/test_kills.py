"""Kills at random and at chosen points: nothing acknowledged is lost, doubled or wrong (P1)."""

import os
import shutil
import time

import pytest

from icckd.journal.artifact import sweep
from icckd.journal.folder import StateFolder
from tests.faults.storm import Nursery, Tally, check_artifacts, storm

# Who dies, in which call, on which file, at which of these calls, before it, after it or half-way.
POINTS = [
    ("emit", "write", "journal.jsonl", 5, "before"),
    ("emit", "write", "journal.jsonl", 5, "torn"),
    ("emit", "write", "journal.jsonl", 9, "after"),
    ("emit", "sync", "journal.jsonl", 2, "before"),
    ("emit", "sync", "journal.jsonl", 2, "after"),
    ("emit", "sync", "attempts", 0, "before"),
    ("own", "flock", "owner.lock", 0, "after"),
    ("own", "sync", "journal.jsonl", 1, "before"),
    ("own", "sync", "journal.jsonl", 1, "after"),
    ("own", "write", ".wal", 2, "before"),
    ("own", "write", ".wal", 2, "torn"),
    ("own", "write", ".wal", 2, "after"),
    ("own", "sync", ".wal", 1, "before"),
    ("own", "sync", ".wal", 1, "after"),
    ("hand_in", "sync", "manifest.json", 3, "before"),
    ("hand_in", "rename", "0003", 0, "before"),
    ("hand_in", "rename", "0003", 0, "after"),
    ("hand_in", "sync", "/artifacts", 7, "before"),
]


@pytest.fixture
def folder(tmp_path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.create()
    return made


def test_thirty_kills_at_random_moments_lose_double_and_falsify_nothing(folder, tmp_path):
    with Nursery(folder, tmp_path / "acks") as nursery:
        storm(nursery, 32, seed=int(os.environ.get("ICCKD_STORM_SEED", "1")), pause=0.002)
    tally = Tally(folder, tmp_path / "acks")

    tally.check()
    assert tally.rows > 1000


def test_a_death_at_every_chosen_point_loses_doubles_and_falsifies_nothing(folder, tmp_path):
    with Nursery(folder, tmp_path / "acks", faults=True) as nursery:
        bystander = nursery.start("emit", str(tmp_path / "acks"), 1000, 0.002)
        for number, (role, *fault) in enumerate(POINTS):
            arguments = {
                "emit": (str(tmp_path / "acks"), number, 0.001),
                "hand_in": (str(tmp_path / "acks"), 16**4 * number),
            }.get(role, ())
            pid = nursery.start(role, *arguments, fault=[*fault, 1])
            nursery.wait(pid)
        nursery.kill(bystander)
    tally = Tally(folder, tmp_path / "acks")

    tally.check()
    assert check_artifacts(folder, tmp_path / "acks") >= 10
    sweep(folder)
    assert not list(folder.artifacts.glob(".tmp-*"))


@pytest.mark.long
def test_a_thousand_kills_over_ten_million_rows(tmp_path):
    """Prints what it saw: kills, rows, acknowledged lines, seconds."""
    start = time.monotonic()
    kills = rows = acknowledged = 0
    while kills < 1000 or rows < 10_000_000:
        folder, acks = StateFolder(tmp_path / f"state-{kills}"), tmp_path / f"acks-{kills}"
        folder.create()
        with Nursery(folder, acks) as nursery:
            storm(nursery, 250, seed=kills + 5, pause=0.0, calm=0.1)
        tally = Tally(folder, acks)
        tally.check()
        kills, rows = kills + 250, rows + tally.rows
        acknowledged += tally.acknowledged
        took = time.monotonic() - start
        print(f"{kills} kills, {rows} rows, {acknowledged} acknowledged lines, {took:.0f} s")
        shutil.rmtree(folder.root)
