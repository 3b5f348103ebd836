import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.errors import MachineError
from icckd.journal.events import EpochMetrics, LogLine
from icckd.journal.file import JournalWriter, encode, read_chunk
from icckd.journal.folder import StateFolder


def written(path, count=6):
    clock = iter(range(1, 1000))
    with JournalWriter(path, clock=lambda: float(next(clock))) as journal:
        for number in range(count):
            journal.append(LogLine(text=f"line {number} " + "x" * (7 * number)))
    return path.read_bytes()


def texts(chunk):
    return [line.body["text"].split(" x")[0].strip() for line in chunk.lines]


def test_lines_are_numbered_without_gaps(tmp_path):
    with JournalWriter(tmp_path / "j") as journal:
        journal.append(LogLine(text="a"), LogLine(text="b"))
        journal.append(LogLine(text="c"), durable=True)
        assert journal.count == 3

    chunk = read_chunk(tmp_path / "j")

    assert [line.sequence for line in chunk.lines] == [0, 1, 2]
    assert chunk.end == (tmp_path / "j").stat().st_size
    assert (chunk.bad_lines, chunk.bad_bytes) == (0, 0)


def test_a_journal_has_one_writer_ever(tmp_path):
    written(tmp_path / "j")

    with pytest.raises(FileExistsError):
        JournalWriter(tmp_path / "j")


def test_a_journal_that_cannot_be_made_is_a_machine_error(tmp_path):
    with pytest.raises(MachineError, match="cannot write journal"):
        JournalWriter(tmp_path / "missing" / "j")


def test_a_journal_cut_at_any_byte_keeps_every_whole_line(tmp_path):
    data = written(tmp_path / "j")
    for end in range(len(data) + 1):
        (tmp_path / "cut").write_bytes(data[:end])
        chunk = read_chunk(tmp_path / "cut")

        whole = data[:end].count(b"\n")
        assert [line.sequence for line in chunk.lines] == list(range(whole))
        assert chunk.end == data[:end].rfind(b"\n") + 1
        assert chunk.bad_lines == 0


def test_a_flipped_byte_costs_no_line_but_its_own_and_is_counted(tmp_path):
    data = written(tmp_path / "j")
    starts = [0, *(i + 1 for i, byte in enumerate(data) if byte == 10)]
    for place in range(0, len(data) - 1, 3):
        damaged = data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :]
        (tmp_path / "bad").write_bytes(damaged)
        chunk = read_chunk(tmp_path / "bad")

        hit = max(i for i, start in enumerate(starts) if start <= place)
        lost = {hit, hit + 1} if data[place] == 10 else {hit}
        assert [line.sequence for line in chunk.lines] == [i for i in range(6) if i not in lost]
        assert chunk.bad_lines >= 1


@given(
    st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), min_size=1, max_size=4)
)
@settings(max_examples=50)
def test_garbage_lines_are_skipped_and_counted(tmp_path_factory, garbage):
    folder = tmp_path_factory.mktemp("garbage")
    good = [encode("l", n, 0.0, {"text": str(n)}) for n in range(len(garbage) + 1)]
    data = good[0] + b"".join(
        bad + b"\n" + line for bad, line in zip(garbage, good[1:], strict=True)
    )
    (folder / "j").write_bytes(data)

    chunk = read_chunk(folder / "j")

    assert [line.sequence for line in chunk.lines] == list(range(len(good)))
    assert chunk.bad_lines == len(garbage)
    assert chunk.bad_bytes == sum(len(bad) + 1 for bad in garbage)


@given(limit=st.integers(1, 400))
@settings(max_examples=40)
def test_reading_in_chunks_of_any_size_gives_the_same_lines(tmp_path_factory, limit):
    folder = tmp_path_factory.mktemp("chunks")
    data = written(folder / "j")
    lines, start = [], 0
    while start < len(data):
        chunk = read_chunk(folder / "j", start, limit)
        assert chunk.end > start
        lines, start = [*lines, *chunk.lines], chunk.end

    assert lines == list(read_chunk(folder / "j").lines)


def test_a_torn_last_line_is_read_once_it_is_whole(tmp_path):
    data = written(tmp_path / "j")
    (tmp_path / "live").write_bytes(data[:-5])
    first = read_chunk(tmp_path / "live")
    (tmp_path / "live").write_bytes(data)

    rest = read_chunk(tmp_path / "live", first.end)

    assert [line.sequence for line in first.lines + rest.lines] == list(range(6))


def test_a_full_disk_leaves_whole_lines_and_the_writer_can_go_on(tmp_path):
    """A child may write 600 bytes to a file; the kernel cuts the write that crosses that."""
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from icckd.errors import MachineError
        from icckd.journal.events import LogLine
        from icckd.journal.file import JournalWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 2000))
        with JournalWriter(Path(sys.argv[1])) as journal:
            refused = 0
            for number in range(40):
                try:
                    journal.append(LogLine(text=str(number)), durable=True)
                except MachineError as error:
                    assert "File too large" in error.message, error.message
                    assert error.hint
                    refused += 1
                    if refused == 3:
                        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
            print(refused, journal.count)
    """)
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "j")],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    refused, count = map(int, result.stdout.split())

    chunk = read_chunk(tmp_path / "j")

    assert refused > 3
    assert [line.sequence for line in chunk.lines] == list(range(count))
    assert chunk.bad_lines == 0
    assert chunk.end == (tmp_path / "j").stat().st_size


def test_a_refused_append_is_taken_back_even_when_truncating_fails_at_first(tmp_path, monkeypatch):
    journal = JournalWriter(tmp_path / "j")
    journal.append(LogLine(text="kept"))
    calls = []

    def fails_once(file, size):
        calls.append(size)
        if len(calls) == 1:
            raise OSError(5, "Input/output error")
        real(file, size)

    real = os.ftruncate
    monkeypatch.setattr(os, "ftruncate", fails_once)
    monkeypatch.setattr(os, "fdatasync", lambda file: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(MachineError, match="full"):
        journal.append(LogLine(text="refused"), durable=True)
    monkeypatch.undo()
    monkeypatch.setattr(os, "ftruncate", fails_once)
    journal.append(LogLine(text="next"))
    journal.close()

    assert texts(read_chunk(tmp_path / "j")) == ["kept", "next"]


def test_a_value_that_is_not_finite_reaches_the_file(tmp_path):
    with JournalWriter(tmp_path / "j") as journal:
        journal.append(EpochMetrics(epoch=1, values={"teacher.ce": float("nan")}))

    assert read_chunk(tmp_path / "j").lines[0].body["values"] == {"teacher.ce": "nan"}


def test_journals_come_sessions_first_and_foreign_folders_not_at_all(tmp_path):
    folder = StateFolder(tmp_path / ".icckd")
    folder.create()
    for home in ("attempts/b", "attempts/a", "sessions/z", "attempts/.tmp-x", "attempts/a b"):
        (folder.root / home).mkdir()
    (folder.sessions / "20261124.log").touch()

    names = [str(path.parent.relative_to(folder.root)) for path in folder.journals()]

    assert names == ["sessions/z", "attempts/a", "attempts/b"]
    assert list(StateFolder(tmp_path / "none").journals()) == []


def test_a_state_folder_that_cannot_be_made_is_a_machine_error(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(MachineError, match="state folder"):
        StateFolder(tmp_path / "file" / ".icckd").create()


def test_closing_between_the_wait_and_the_clear_of_the_syncing_thread_does_not_hang(tmp_path):
    journal = JournalWriter(tmp_path / "j")
    real = journal._dirty

    class Interleaved:
        """Lets `close` set both events just before the thread clears one of them."""

        set, wait = real.set, real.wait

        def clear(self):
            journal._over.set()
            real.set()
            real.clear()

    journal._dirty = Interleaved()
    journal.append(LogLine(text="a"))

    journal._syncer.join(timeout=10)

    assert not journal._syncer.is_alive()
    journal.close()
