"""Which journals are looked at: open and new ones, at a cost that closed ones do not raise."""

import os

import pytest

from icckd.journal.listing import SETTLE_SECONDS, SURE_SECONDS, JournalListing


class Folder:
    """Two groups of journals, listed on a clock that stands still; counts what is asked."""

    def __init__(self, root, monkeypatch):
        self.now = 0.0
        self.root = root
        self.scans = 0
        for group in ("session", "attempt"):
            (root / group).mkdir()
        self.listing = JournalListing(
            {"session": root / "session", "attempt": root / "attempt"}, clock=lambda: self.now
        )
        scandir = os.scandir

        def counted(path):
            self.scans += 1
            return scandir(path)

        monkeypatch.setattr(os, "scandir", counted)

    def make(self, *names, group="attempt"):
        for name in names:
            (self.root / group / name).mkdir()

    def look(self, after=0.0):
        self.now += after
        return [name for _, name in self.listing.open()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return Folder(tmp_path, monkeypatch)


def test_open_journals_come_in_order_and_closed_ones_never_again(folder):
    folder.make("b", "a", "c", "not ours", ".tmp-x")
    folder.make("z", group="session")
    assert folder.look() == ["z", "a", "b", "c"]

    folder.listing.close("attempt", "b")

    assert folder.look() == ["z", "a", "c"]
    assert folder.look(SURE_SECONDS) == ["z", "a", "c"]


def test_a_folder_that_did_not_change_is_not_listed_again(folder):
    folder.make(*map(str, range(50)))
    folder.look()
    folder.look(SETTLE_SECONDS)
    before = folder.scans

    for _ in range(10):
        assert len(folder.look(0.5)) == 50

    assert folder.scans == before
    folder.make("new")
    assert "new" in folder.look(0.5)


def test_a_journal_made_within_the_tick_of_a_clock_is_found(folder):
    folder.make("a")
    group = folder.root / "attempt"
    then = os.stat(group)
    folder.look()

    folder.make("b")
    os.utime(group, ns=(then.st_atime_ns, then.st_mtime_ns))  # as one tick of the clock leaves it

    assert folder.look(0.1) == ["a", "b"]


def test_a_clock_set_back_hides_no_journal(folder):
    folder.make("a")
    folder.look()
    folder.look(SETTLE_SECONDS)

    folder.make("b")
    os.utime(folder.root / "attempt", (0, 0))

    assert folder.look(0.1) == ["a", "b"]


def test_whatever_the_system_says_of_a_folder_it_is_listed_after_a_while(folder, monkeypatch):
    monkeypatch.setattr("icckd.journal.listing._stamp", lambda path: (1,))
    folder.look()
    folder.look(SETTLE_SECONDS)
    folder.make("a")
    assert folder.look(0.1) == []

    assert folder.look(SURE_SECONDS) == ["a"]


def test_a_crowded_folder_that_always_changes_is_listed_at_times_and_what_is_told_of_at_once(
    folder, monkeypatch
):
    monkeypatch.setattr("icckd.journal.listing.NAMES_AT_ONCE", 10)
    monkeypatch.setattr("icckd.journal.listing.NAMES_PER_SECOND", 10)
    folder.make(*(f"{number:03}" for number in range(30)))  # two seconds' worth
    folder.look()
    folder.make("told", "untold")
    folder.listing.expect("attempt", "told")

    seen = folder.look(0.5)

    assert "told" in seen
    assert "untold" not in seen
    assert {"told", "untold"} <= set(folder.look(2.0))


def test_what_is_told_of_is_looked_for_in_the_same_look(folder):
    folder.make("s", group="session")
    looked = []
    for group, name in folder.listing.open():
        looked.append(name)
        if group == "session":
            folder.listing.expect("attempt", "told")
    assert looked == ["s", "told"]


@pytest.mark.parametrize("name", ["../session", "a/b", "", ".hidden", "a" * 200, "a\0b"])
def test_a_journal_can_send_nobody_elsewhere(folder, name):
    folder.listing.expect("attempt", name)
    assert folder.look() == []


def test_a_journal_that_is_removed_and_made_again_is_found_again(folder):
    folder.make("a", "b")
    folder.look()
    (folder.root / "attempt" / "a").rmdir()
    assert folder.look(1.0) == ["b"]
    folder.make("a")

    assert folder.look(1.0) == ["a", "b"]


def test_a_group_that_is_not_there_yet_has_no_journals(tmp_path):
    now = 0.0
    listing = JournalListing({"attempt": tmp_path / "attempt"}, clock=lambda: now)
    assert list(listing.open()) == []
    now = 100.0
    (tmp_path / "attempt" / "a").mkdir(parents=True)

    assert list(listing.open()) == [("attempt", "a")]
