"""One session owns a study: by a token, never by a clock."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from icckd.journal.live_status import LiveStatus
from icckd.storage.folder import FolderStorage
from icckd.storage.ownership import Ownership


class Clock:
    """A machine's own clock; waiting moves it, and what happens meanwhile is told beside it."""

    def __init__(self, meanwhile=lambda: None):
        self.now, self.meanwhile = 1000.0, meanwhile

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def machine(tmp_path):
    """Returns the ownership of a study by a machine of a name; each has a folder of its own."""
    storage = FolderStorage(tmp_path / "storage")

    def made(name, study="s"):
        (tmp_path / name).mkdir(exist_ok=True)
        return Ownership(storage, study, tmp_path / name)

    return made


def acquire(ownership, clock=None, told=None, **more):
    clock = clock or Clock()
    waiting = (lambda owner: told.append(owner.token)) if told is not None else lambda owner: None
    more = {"above": 0, "takeover_seconds": 60.0, **more}
    return ownership.acquire(waiting=waiting, clock=clock, sleep=clock.sleep, **more)


def test_a_study_that_nobody_owns_or_that_was_left_is_owned_at_once(machine):
    first, second, clock = machine("a"), machine("b"), Clock()
    assert acquire(first) is None
    first.leave()

    assert acquire(second, clock).token == first.token
    assert second.token > first.token
    assert clock.now == 1000.0


def test_an_owner_is_taken_over_when_its_counter_stood_still_for_so_long_and_not_before(machine):
    owner, taker, told = machine("a"), machine("b"), []
    acquire(owner)
    beats = itertools.count()

    def meanwhile():
        if next(beats) < 50:  # it lives for 25 more seconds
            owner.beat(LiveStatus())

    clock = Clock(meanwhile)
    acquire(taker, clock, told)

    assert 60.0 <= clock.now - 1025.0 <= 61.0
    assert told == [owner.token]
    assert owner.taken_by().token == taker.token
    assert not owner.renew()


def test_a_person_who_says_that_it_has_ended_is_believed_at_once(machine):
    owner = machine("a")
    acquire(owner)
    taker, clock = machine("b"), Clock()

    acquire(taker, clock, take_over=True)

    assert clock.now == 1000.0
    assert owner.token < taker.token


def test_the_same_state_folder_takes_its_study_up_again_at_once(machine):
    killed, again, clock = machine("a"), machine("a"), Clock()
    acquire(killed)

    acquire(again, clock)  # whoever does so holds the lock of that folder

    assert clock.now == 1000.0


def test_of_many_that_take_over_at_the_same_moment_one_owns_the_study(machine):
    acquire(machine("a"))
    takers = [machine(f"t{number}") for number in range(6)]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda taker: taker._claim(0), takers))

    assert len({taker.token for taker in takers}) == 6
    assert [taker.taken_by() for taker in takers].count(None) == 1


def test_tokens_are_above_all_sessions_of_the_folder_and_shared_by_all_studies(machine):
    first, other = machine("a"), machine("b", "other")
    acquire(first, above=41)
    acquire(other)

    assert first.token == 42
    assert other.token == 43
    assert first.taken_by() is None
