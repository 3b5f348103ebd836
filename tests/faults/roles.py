"""Processes to be killed: what icckd's processes do to a state folder, without the training.

Run as a script this is a nursery: it imports everything once, then forks a child for each line
that it reads, and answers with its process id. Children do real work on real files through
icckd's own code; only the numbers are made up, by a formula that a query can repeat. `trainer.py`
is a nursery whose children really train.
"""

import ctypes
import json
import mmap
import os
import random
import signal
import sys
import time
from pathlib import Path

from icckd.journal.artifacts import is_complete, publish, workspace
from icckd.journal.events import AttemptClosed, AttemptHeader, EpochMetrics
from icckd.journal.file import JournalWriter
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.locks import stage_lock
from icckd.journal.owner import owner_lock
from icckd.results.store import Store

METRICS = [f"teacher.m{number}" for number in range(8)]
VALUE_SQL = """
    ((epoch * 7919 + metric[10:]::bigint * 104729
        + attempt[2:]::bigint * 1299709) % 1000003)::double / 7::double
"""


def value(attempt, epoch, number):
    """Return the only right value of a metric; `VALUE_SQL` is the same formula."""
    return ((epoch * 7919 + number * 104729 + attempt * 1299709) % 1000003) / 7.0


def metrics(attempt, epoch):
    values = {name: value(attempt, epoch, n) for n, name in enumerate(METRICS)}
    return EpochMetrics(epoch=epoch, values=values)


class Acks:
    """Two counters that outlive their process: lines appended, lines durable."""

    def __init__(self, path):
        path.touch()
        os.truncate(path, 16)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 16)
        self._numbers = memoryview(self._memory).cast("Q")

    def tell(self, journal):
        self._numbers[1] = journal.durable
        self._numbers[0] = journal.count

    @staticmethod
    def read(path):
        numbers = memoryview(path.read_bytes()).cast("Q")
        return numbers[0], numbers[1]


def emit(folder, acks, attempt, pause, durable=0.05):
    """Append epochs for ever, now and then durable, and acknowledge them."""
    home = folder.attempts / f"a{attempt}"
    home.mkdir()
    chance = random.Random(attempt)
    told = Acks(Path(acks) / str(attempt))
    with JournalWriter(home / JOURNAL) as journal:
        journal.append(header(attempt), durable=True)
        told.tell(journal)
        epoch = 1
        while True:
            count = chance.randint(1, 12)
            events = [metrics(attempt, n) for n in range(epoch, epoch + count)]
            journal.append(*events, durable=chance.random() < durable)
            told.tell(journal)
            epoch += count
            if pause:
                time.sleep(pause * chance.random())


def header(attempt):
    return AttemptHeader(
        attempt=f"a{attempt}", session="s", stage="0", kind="teacher", shape="", seed=0,
        replicate=0, epochs=1, settings={}, inputs={}, fingerprint="", numerics={},
        code_epoch=1, host="", boot="", pid=os.getpid(), environment={},
    )  # fmt: skip


def own(folder):
    """Own the folder and take in what its journals hold, for ever."""
    with owner_lock(folder), Store.open_file(folder, chunk_bytes=1 << 16) as store:
        while True:
            if not store.ingest():
                time.sleep(0.01)


def view(folder):
    """Look, as a report does while a session runs, for ever."""
    while True:
        with Store.in_memory(folder) as store:
            store.ingest()


def hand_in(folder, acks, first):
    """Publish artifacts for ever; the content follows from the name."""
    for number in range(first, first + 10_000):
        digest = f"{number:064x}"
        prepared = workspace(folder, f"{digest[:16]}-{os.getpid()}")
        (prepared / "model.safetensors").write_bytes(digest.encode() * 50)
        publish(folder, digest, prepared)
        (Path(acks) / f"published-{number}").touch()


def contend(folder, acks, me, stages):
    """Train every stage that is not complete, as a worker does, under the stage's lock."""
    for number in range(stages):
        digest = f"{number:016x}" * 4
        with stage_lock(folder, digest, waiting=bool, give_up=lambda: False):
            if is_complete(folder, digest):
                continue
            name = f"{digest[:16]}-{me}"
            (folder.attempts / name).mkdir()
            with JournalWriter(folder.attempts / name / JOURNAL) as journal:
                known = {"attempt": name, "stage": digest, "ordinal": me}
                journal.append(header(0).model_copy(update=known), durable=True)
                time.sleep(0.02)
                prepared = workspace(folder, name)
                (prepared / "model.safetensors").write_bytes(digest.encode())
                publish(folder, digest, prepared)
                journal.append(
                    AttemptClosed(state="complete", count=journal.count, seconds=0.02), durable=True
                )
    (Path(acks) / "finished").touch()


ROLES = {"emit": emit, "own": own, "view": view, "hand_in": hand_in, "contend": contend}


def nursery(roles):
    """Fork a child for each order on standard input: a role, where, and what befalls it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                if order["fault"]:
                    call, path, nth, action, times = order["fault"]
                    ctypes.CDLL(None).fault_arm(
                        call.encode(), path.encode(), nth, action.encode(), times
                    )
                roles[order["role"]](StateFolder(Path(order["folder"])), *order["arguments"])
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    nursery(ROLES)
