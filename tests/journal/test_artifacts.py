"""What is published under a stage's digest, and when it counts as complete."""

import hashlib
import os

import pytest

from icckd.journal.artifacts import is_complete, publish, verified, workspace
from icckd.journal.file import encode
from icckd.journal.folder import JOURNAL

DIGEST = "d" * 64
OTHER = "d" * 63 + "e"  # begins as the other does
FILES = {"model.bin": b"weights" * 9, "extra.bin": b""}


def prepared(folder, attempt, files=FILES):
    made = workspace(folder, attempt)
    for name, content in files.items():
        (made / name).write_bytes(content)
    return made


def attempt(folder, name, ordinal, state, *, stage=DIGEST):
    """An attempt's journal; one without a state has no end: its worker was killed."""
    home = folder.attempts / f"{DIGEST[:16]}-{name}"
    home.mkdir()
    lines = encode("h", 0, 1.0, {"ordinal": ordinal, "stage": stage})
    lines += encode("z", 1, 2.0, {"state": state}) if state else encode("m", 1, 2.0, {})
    (home / JOURNAL).write_bytes(lines)


def test_files_are_published_under_their_digest_and_the_same_ones_again_leave_no_trace(folder):
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}

    first = publish(folder, DIGEST, prepared(folder, "a"))
    again = publish(folder, DIGEST, prepared(folder, "b"))

    assert (first.files, first.bytes) == (digests, 63)
    assert again == first
    assert [path.name for path in folder.artifacts.iterdir()] == [DIGEST]
    for name, content in FILES.items():
        assert (verified(folder, DIGEST) / name).read_bytes() == content


def test_what_a_task_may_leave_in_its_folder_is_published_as_files(folder, tmp_path):
    made = prepared(folder, "a", {"kept": b"1", "manifest.json": b"mine", "a\nb": b"2"})
    (tmp_path / "outside").write_bytes(b"3")
    (made / "inner").mkdir()
    for name, target in {
        "loop": "loop", "nowhere": "/no/such", "inner/up": "..", "zero": "/dev/zero",
        "inner/link": str(tmp_path / "outside"),
    }.items():  # fmt: skip
        (made / name).symlink_to(target)
    os.mkfifo(made / "pipe")

    manifest = publish(folder, DIGEST, made)

    assert set(manifest.files) == {"kept", "manifest.task.json", "a\nb", "inner/link"}
    found = verified(folder, DIGEST)
    assert (found / "manifest.task.json").read_bytes() == b"mine"
    assert (found / "inner" / "link").read_bytes() == b"3"
    assert not [path for path in found.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize(
    ("attempts", "wanted"),
    [
        ([], False),
        ([("a", 1, "complete")], True),
        ([("a", 1, "failed"), ("b", 2, "complete")], True),
        ([("b", 2, "failed"), ("a", 1, "complete")], False),
        ([("a", 1, "complete"), ("b", 2, None)], True),
        ([("a", 1, None)], False),
    ],
)
def test_a_stage_is_complete_when_its_newest_attempt_that_ended_is(folder, attempts, wanted):
    for name, ordinal, state in attempts:
        attempt(folder, name, ordinal, state)
    assert not is_complete(folder, DIGEST)

    publish(folder, DIGEST, prepared(folder, "x"))

    assert is_complete(folder, DIGEST) == wanted


def test_an_attempt_at_another_stage_whose_digest_begins_alike_does_not_count(folder):
    publish(folder, DIGEST, prepared(folder, "x"))
    attempt(folder, "a", 1, "complete", stage=OTHER)

    assert not is_complete(folder, DIGEST)
