"""Journals in storage are their bytes, whoever pushes and pulls them, and whenever one dies."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.storage.base import StorageError
from icckd.storage.folder import FolderStorage
from icckd.storage.segments import SegmentWriter, pull_journal

KEY = "journals/attempts/00000000000000000001/x"


class Refusing(FolderStorage):
    """Refuses while it is told to, before or after it has written."""

    refuses = ""

    def create(self, key, data):
        if self.refuses == "before":
            raise StorageError("no")
        super().create(key, data)
        if self.refuses == "after":
            raise StorageError("the answer is lost")


PUSH = st.tuples(st.integers(0, 1), st.sampled_from(["", "before", "after"]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(st.binary(max_size=9), min_size=1, max_size=3)),
        st.tuples(st.just("push"), PUSH),
        st.tuples(st.just("restart"), st.integers(0, 1)),
        st.tuples(st.just("pull"), st.sampled_from(["whole", "cut"])),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=25)
@given(steps=STEPS)
def test_whatever_is_interrupted_storage_has_a_beginning_of_the_journal_and_in_the_end_all(
    tmp_path_factory, steps
):
    root = tmp_path_factory.mktemp("s")
    storage, journal, mirror = Refusing(root / "storage"), root / "journal", root / "m" / "mirror"
    journal.write_bytes(b"header\n")
    pushers = [SegmentWriter(storage, KEY, journal) for _ in range(2)]
    acknowledged = 0
    for what, how in steps:
        if what == "write":
            with journal.open("ab") as file:
                file.write(b"".join(line.replace(b"\n", b"") + b"\n" for line in how))
        elif what == "push":
            storage.refuses = how[1]
            try:
                pushers[how[0]].push()
            except StorageError:
                pass
            else:
                acknowledged = journal.stat().st_size
            storage.refuses = ""
        elif what == "restart":
            pushers[how] = SegmentWriter(storage, KEY, journal)
        else:
            pull_journal(storage, storage.list(KEY), mirror)
            if how == "cut" and mirror.exists():  # it died while it wrote
                mirror.write_bytes(mirror.read_bytes()[: mirror.stat().st_size // 2])
        stored = b"".join(storage.get(entry.key) for entry in storage.list(KEY))
        assert journal.read_bytes().startswith(stored)
        assert len(stored) >= acknowledged  # nothing acknowledged is lost
    pushers[0].push()
    pull_journal(storage, storage.list(KEY), mirror)
    assert mirror.read_bytes() == journal.read_bytes()
    shutil.rmtree(root)


def test_a_line_that_is_being_written_waits(tmp_path):
    storage, journal = FolderStorage(tmp_path / "storage"), tmp_path / "journal"
    journal.write_bytes(b"one\ntwo\nthr")

    SegmentWriter(storage, KEY, journal).push()

    assert [entry.size for entry in storage.list(KEY)] == [len(b"one\ntwo\n")]


def test_a_journal_here_that_is_ahead_of_storage_is_left_alone(tmp_path):
    storage, journal = FolderStorage(tmp_path / "storage"), tmp_path / "journal"
    journal.write_bytes(b"one\n")
    SegmentWriter(storage, KEY, journal).push()
    journal.write_bytes(b"one\ntwo\n")

    assert not pull_journal(storage, storage.list(KEY), journal)
    assert journal.read_bytes() == b"one\ntwo\n"


def test_a_segment_that_is_gone_is_told(tmp_path):
    storage, journal = FolderStorage(tmp_path / "storage"), tmp_path / "journal"
    journal.write_bytes(b"one\n")
    SegmentWriter(storage, KEY, journal).push()
    entries = storage.list(KEY)
    storage.delete(entries[0].key)

    with pytest.raises(StorageError, match="lost"):
        pull_journal(storage, entries, tmp_path / "mirror")
