"""What a session that must leave soon knows of its running stages."""

import time

import pytest

from icckd.journal.events import AttemptHeader, EpochMetrics, Resumed
from icckd.journal.file import JournalWriter
from icckd.journal.folder import JOURNAL
from icckd.run.leaving import outlook

ATTEMPT, STAGE = "a-1", "0" * 64
HEADER = AttemptHeader(
    attempt=ATTEMPT, session="s", stage=STAGE, kind="teacher", shape="x", seed=0, replicate=0,
    epochs=9, settings={}, inputs={}, fingerprint="f", numerics={}, code_epoch=1, host="h",
    boot="b", pid=1, environment={}, ordinal=1,
)  # fmt: skip


def attempt(folder, *, begun, epochs, resumed=False):
    """Write the journal of an attempt that began and ended epochs so many seconds ago."""
    home = folder.attempts / ATTEMPT
    home.mkdir()
    times = iter([begun, *([begun] if resumed else []), *epochs])
    now = time.time()
    with JournalWriter(home / JOURNAL, clock=lambda: now - next(times)) as journal:
        journal.append(HEADER)
        if resumed:
            lines = [EpochMetrics(epoch=n, values={}) for n in (1, 2)]
            journal.append(Resumed(attempt="a-0", epoch=2, seconds=1.0), *lines)
        for epoch, _ in enumerate(epochs, start=1):
            journal.append(EpochMetrics(epoch=epoch, values={}))


def test_the_present_epoch_ends_when_it_has_taken_what_the_last_one_took(folder):
    attempt(folder, begun=100, epochs=(60, 40, 5))

    seen = outlook(folder, ATTEMPT, STAGE)

    assert seen.epoch_seconds == pytest.approx(35, abs=0.1)
    assert seen.saved_in == pytest.approx(30, abs=2)
    assert (seen.is_too_late(25), seen.is_too_late(40)) == (True, False)
    assert seen.at_stake == pytest.approx(100, abs=2)


@pytest.mark.parametrize(("epochs", "resumed"), [((), False), ((3,), False), ((), True)])
def test_nothing_is_given_up_whose_epochs_nobody_has_seen(folder, epochs, resumed):
    attempt(folder, begun=100, epochs=epochs, resumed=resumed)

    assert not outlook(folder, ATTEMPT, STAGE).is_too_late(0)


def test_an_epoch_that_takes_longer_than_the_last_one_is_waited_for(folder):
    attempt(folder, begun=100, epochs=(60, 50))

    assert not outlook(folder, ATTEMPT, STAGE).is_too_late(0)


def test_only_the_work_since_the_newest_checkpoint_is_at_stake(folder):
    attempt(folder, begun=100, epochs=(60, 5))
    (folder.checkpoints / STAGE / "epoch-000001").mkdir(parents=True)

    assert outlook(folder, ATTEMPT, STAGE).at_stake < 5


def test_an_attempt_without_a_journal_has_nothing_to_lose(folder):
    seen = outlook(folder, ATTEMPT, STAGE)

    assert (seen.epoch_seconds, seen.at_stake) == (None, 0)
