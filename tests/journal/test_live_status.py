"""What a session says of itself is read back as it was said last."""

import pytest

from icckd.journal.live_status import BYTES, NAME, LiveStatus, LiveStatusFile, read_live_status

WORDY = LiveStatus(paused=True, stalled={"": "no space left", "attempt-1": "the disk is slow"})


@pytest.fixture
def file(tmp_path):
    made = LiveStatusFile(tmp_path)
    yield made
    made.close()


def test_what_was_said_last_is_read_and_nothing_of_what_was_said_before(tmp_path, file):
    assert read_live_status(tmp_path) == LiveStatus()
    for said in (WORDY, LiveStatus(paused=True), WORDY, LiveStatus()):
        file.write(said)

        assert read_live_status(tmp_path) == said


def test_the_file_never_grows_however_much_there_is_to_say(tmp_path, file):
    told = {f"attempt-{number}": "why " * 100 for number in range(100)}

    file.write(LiveStatus(stalled=told))

    assert (tmp_path / NAME).stat().st_size == BYTES
    stalled = read_live_status(tmp_path).stalled
    assert list(stalled) == list(told)[:16]
    assert {len(reason) for reason in stalled.values()} == {100}
