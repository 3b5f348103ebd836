"""Kills at random and at chosen points: nothing acknowledged is lost, doubled or wrong (P1)."""

import os
import random
import shutil
import time
from collections import Counter

import pytest

from icckd.journal.artifacts import sweep, verified
from icckd.journal.folder import JOURNAL, StateFolder
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


@pytest.mark.slow
def test_thirty_kills_at_random_moments_lose_double_and_falsify_nothing(folder, tmp_path):
    with Nursery(folder, tmp_path / "acks") as nursery:
        storm(nursery, 32, seed=int(os.environ.get("ICCKD_STORM_SEED", "1")), pause=0.002)
    tally = Tally(folder, tmp_path / "acks")

    tally.check()
    assert tally.rows > 1000


@pytest.mark.slow
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


def contend(folder, acks, *, crowd, stages, kills, stops, seed):
    """Let processes contend for stages while some are killed or stopped for a while."""
    chance = random.Random(seed)
    with Nursery(folder, acks) as nursery:
        number = 0

        def another():
            nonlocal number
            number += 1
            return nursery.start("contend", str(acks), number, stages)

        pids = [another() for _ in range(crowd)]
        fates = ["kill"] * kills + ["stop"] * stops
        chance.shuffle(fates)
        for fate in fates:
            time.sleep(chance.uniform(0.0, 0.04))
            victim = chance.choice(pids)
            if fate == "kill":
                nursery.kill(victim)
                pids[pids.index(victim)] = another()
            else:
                nursery.stop_for(victim, chance.uniform(0.02, 0.3))
        for pid in pids:
            nursery.wait(pid, seconds=120)
    trained = Counter(
        path.parent.name.partition("-")[0]
        for path in folder.attempts.glob(f"*/{JOURNAL}")
        if b'"state":"complete"' in path.read_bytes()
    )
    assert trained == {f"{n:016x}": 1 for n in range(stages)}
    for n in range(stages):
        verified(folder, f"{n:016x}" * 4)


def test_every_stage_is_trained_once_whoever_is_killed_or_stopped(folder, tmp_path):
    contend(folder, tmp_path / "acks", crowd=4, stages=40, kills=20, stops=10, seed=1)


@pytest.mark.long
def test_eight_trainers_of_many_teachers_with_a_hundred_kills_and_fifty_stops(folder, tmp_path):
    contend(folder, tmp_path / "acks", crowd=8, stages=250, kills=100, stops=50, seed=2)


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
