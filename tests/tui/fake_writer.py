"""A session that writes journals fifty times as fast as training would, and badly: torn lines, a
journal cut short, clocks that jump, values that are no numbers. Run as a process, to be killed.

    python fake_writer.py STATE_FOLDER [EPOCHS] [ROUNDS]
"""

import itertools
import math
import os
import sys
import time
from pathlib import Path

from icckd.journal.events import EpochMetrics, LogLine
from icckd.journal.file import encode
from icckd.journal.owner import owner_lock
from tests.support.lab import Lab, planned

SECONDS_AN_EPOCH = 0.02


def tear_lines():
    """Let every third line arrive in two pieces."""
    write, count = os.write, itertools.count()

    def in_pieces(file, data):
        if len(data) < 40 or next(count) % 3:
            return write(file, data)
        done = write(file, data[: len(data) // 2])
        time.sleep(0.03)
        return done + write(file, data[done:])

    os.write = in_pieces


def epoch_of(stage, epoch, arm):
    accuracy = 95.0 - 60.0 * math.exp(-epoch / 8) - arm
    return {
        f"{stage.kind}.val_top1": math.nan if epoch % 9 == 0 else accuracy,
        f"{stage.kind}.ce": math.inf if epoch % 11 == 0 else 2.0 * math.exp(-epoch / 8),
        f"{stage.kind}.train_seconds": 1.5 * epoch,
    }


def attempt(lab, session, stage, arm, epochs):
    """Train one stage."""
    lab.attempts += 1
    name = f"{stage.digest[:16]}-{lab.attempts:08d}"
    journal = lab.writer(lab.folder.attempts / name)
    journal.append(session._header(stage, name))
    session.say(stage, "running", attempt=name)
    for epoch in range(1, epochs + 1):
        lab.now += 3600.0 if epoch == 5 else (-1800.0 if epoch == 7 else 0.5)
        journal.append(EpochMetrics(epoch=epoch, values=epoch_of(stage, epoch, arm)))
        if epoch % 6 == 0:
            journal.append(LogLine(text=f"\x1b[31mepoch {epoch}\x1b]0;x\x07 [bold]{epoch}[/bold]"))
        time.sleep(SECONDS_AN_EPOCH)
    session._end(journal, stage, 93.0 - arm, {}, "complete")
    session.say(stage, "complete", attempt=name)
    journal.close()


def tear_and_cut(folder):
    """Leave a journal that ends in half a line, and one that becomes shorter than it was."""
    line = encode("l", 1, time.time(), {"level": "info", "text": "half"})
    for name in ("torn-00000000-1", "short-0000000-1"):
        home = folder.attempts / name
        home.mkdir(mode=0o700, exist_ok=True)
        (home / "journal.jsonl").write_bytes(line + line[: len(line) // 2])
    time.sleep(0.6)
    short = folder.attempts / "short-0000000-1" / "journal.jsonl"
    os.truncate(short, 10)


def main(root, epochs=40, rounds=1):
    tear_lines()
    lab = Lab(Path(root))
    lab.now = time.time()
    with owner_lock(lab.folder):
        for number in range(rounds):
            plan = planned(epochs=epochs, seeds=range(3), salt=f"round {number}")
            session = lab.session(f"fake-{number}", plan)
            for place, trial in enumerate(plan.trials):
                for position in range(len(trial.stages)):
                    stage = session.stage(trial.arm, trial.seed, position)
                    attempt(lab, session, stage, place % 4, epochs)
                if place == 0 and number == 0:
                    tear_and_cut(lab.folder)
            session.end()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
