"""Attempts of one stage on several machines: one publishes, the others leave."""

import threading

import pytest

from icckd.configuration import StorageSettings
from icckd.errors import StageSuperseded
from icckd.journal.artifacts import publish, workspace
from icckd.journal.events import AttemptClosed
from icckd.journal.file import JournalWriter
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.live_status import LiveStatus
from icckd.journal.owner import ORDERS_PER_SESSION
from icckd.storage.artifacts import find_published
from icckd.storage.attempts import SharedAttempt, Ticket
from icckd.storage.folder import FolderStorage
from icckd.storage.ownership import Ownership
from icckd.storage.segments import SegmentWriter, attempt_key
from icckd.storage.sessions import share_study
from tests.support.waiting import wait_for

STAGE = "d" * 64


class Machine:
    """A machine with a state folder of its own, and attempts of one stage."""

    def __init__(self, root, storage, name):
        self.folder = StateFolder(root / name)
        self.folder.create()
        self.settings = StorageSettings(url=storage.url, seconds=0.1, takeover_seconds=0.4)
        self.said, self.gives_up = [], False

    def attempt(self, session, number=1, study="s", force=False):
        name = f"{STAGE[:16]}-{session:04}{number:04}"
        ticket = Ticket(
            stage=STAGE, attempt=name, ordinal=session * ORDERS_PER_SESSION + number, study=study,
            force=force,
        )  # fmt: skip
        return SharedAttempt(
            self.settings, ticket, self.folder, stalled=self.said.append,
            give_up=lambda: self.gives_up,
        )  # fmt: skip

    def publish(self, attempt, content=b"weights"):
        name = attempt._ticket.attempt
        home = self.folder.attempts / name
        home.mkdir()
        (home / JOURNAL).write_bytes(b"header\n")
        attempt.start(home / JOURNAL)
        prepared = workspace(self.folder, name)
        (prepared / "model").write_bytes(content)
        manifest = publish(self.folder, STAGE, prepared)
        try:
            attempt.publish(manifest.files, manifest.bytes, b"close\n")
            counts = True
        except StageSuperseded:
            counts = False
        with (home / JOURNAL).open("ab") as file:
            file.write(b"close\n" if counts else b"superseded\n")
        attempt.close()
        return counts


@pytest.fixture
def storage(tmp_path):
    return FolderStorage(tmp_path)


@pytest.fixture
def machines(tmp_path, storage):
    return [Machine(tmp_path, storage, name) for name in ("a", "b")]


def test_a_stage_that_is_published_is_not_begun_again(storage, machines):
    a, b = machines
    first = a.attempt(1)
    assert first.begin(lambda: False) == "begin"
    assert a.publish(first)

    assert b.attempt(2).begin(lambda: False) == "published"
    assert b.attempt(3, force=True).begin(lambda: False) == "begin"
    journal = attempt_key(1 * ORDERS_PER_SESSION + 1, f"{STAGE[:16]}-00010001")
    assert b"".join(storage.get(e.key) for e in storage.list(journal)) == b"header\nclose\n"


def test_an_attempt_that_was_ordered_earlier_does_not_publish_and_reads_what_counts(machines):
    a, b = machines
    old, new = a.attempt(1), b.attempt(2)
    assert (old.begin(lambda: False), new.begin(lambda: False)) == ("begin", "begin")
    assert b.publish(new)

    assert not a.publish(old, b"other weights")

    assert old.overtaken
    assert (a.folder.artifacts / STAGE / "model").read_bytes() == b"weights"
    assert a.attempt(1, 2).begin(lambda: False) == "published"


def test_an_attempt_that_was_ordered_later_and_published_later_leaves_too(storage, machines):
    a, b = machines
    old, new = a.attempt(1), b.attempt(2)
    old.begin(lambda: False)
    assert a.publish(old)  # it checked before the other one began, and was slow to write
    new._dead = set()

    assert not b.publish(new, b"other weights")
    assert find_published(storage, STAGE).attempt.endswith("00010001")


def test_the_one_that_was_overtaken_learns_so_within_seconds(machines):
    a, b = machines
    old = a.attempt(1)
    old.begin(lambda: False)
    (a.folder.root / "j").write_bytes(b"line\n")
    old.start(a.folder.root / "j")

    b.attempt(2).begin(lambda: False)

    wait_for(lambda: old.overtaken, 10)
    old.close()


def test_a_failed_attempt_stands_in_nobodys_way(machines):
    a, b = machines
    failed = a.attempt(2)
    failed.begin(lambda: False)
    failed.close()

    assert b.attempt(1).begin(lambda: False) == "begin"


def test_a_stage_that_a_living_session_of_another_study_trains_is_waited_for(tmp_path, machines):
    a, b = machines
    owner = Ownership(FolderStorage(tmp_path), "other", a.folder.root)
    owner.acquire(above=0, takeover_seconds=1, waiting=lambda known: None)
    theirs = a.attempt(owner.token, study="other")
    theirs.begin(lambda: False)
    over, answers = threading.Event(), []

    def live():
        while not over.wait(0.05):
            owner.beat(LiveStatus())

    def begin():
        answers.append(b.attempt(owner.token + 1).begin(lambda: False))

    threads = [threading.Thread(target=live), threading.Thread(target=begin)]
    for thread in threads:
        thread.start()
    wait_for(lambda: b.said, 10)
    assert answers == []
    over.set()  # it dies
    for thread in threads:
        thread.join(20)

    assert answers == ["begin"]
    assert b.said[-1] == ""


def test_lines_are_pushed_while_an_attempt_works_and_a_refusal_is_told_until_it_is_over(
    storage, machines, tmp_path
):
    a, _ = machines
    attempt = a.attempt(1)
    attempt.begin(lambda: False)
    journal = a.folder.root / "journal"
    journal.write_bytes(b"one\n")
    attempt.start(journal)
    key = attempt_key(ORDERS_PER_SESSION + 1, f"{STAGE[:16]}-00010001")
    wait_for(lambda: storage.list(key), 10)

    journals = tmp_path / "journals"
    journals.rename(tmp_path / "hidden")
    journals.write_text("a file where the folder was")
    with journal.open("ab") as file:
        file.write(b"two\n")
    wait_for(lambda: any("refuses" in said for said in a.said), 10)
    journals.unlink()
    (tmp_path / "hidden").rename(journals)

    wait_for(lambda: a.said[-1] == "", 10)
    wait_for(lambda: sum(e.size for e in storage.list(key)) == len(b"one\ntwo\n"), 10)
    attempt.close()


def test_a_session_that_ends_has_what_tasks_of_earlier_sessions_wrote_meanwhile(tmp_path, storage):
    """Such as the second execution of a task that a scheduler requeued after its driver died."""
    here = Machine(tmp_path, storage, "here")

    def written(session, number, name):
        path = tmp_path / name
        with JournalWriter(path) as journal:
            journal.append(AttemptClosed(state="complete", count=0, seconds=1.0))
        ordinal = session * ORDERS_PER_SESSION + number
        SegmentWriter(storage, attempt_key(ordinal, name), path).push()

    with share_study(here.settings, here.folder, "s", say=here.said.append) as shared:
        written(2, 4, "b-2")
        shared.finish(lambda: False)
        written(1, 1, "a-1.2")
        shared.finish(lambda: False)

    assert {path.name for path in here.folder.attempts.iterdir()} == {"b-2", "a-1.2"}
