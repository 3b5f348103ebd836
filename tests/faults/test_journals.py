"""Damaged, cut, long and reordered journals: intact lines are kept, bad ones counted."""

import math
import os
import random
import time

import pytest

from icckd.journal.events import EpochMetrics, LogLine
from icckd.journal.file import JournalWriter, encode, read_chunk
from icckd.journal.folder import JOURNAL
from icckd.results.store import Store
from tests.faults import roles
from tests.support.lab import planned
from tests.support.rows import in_memory


def lines_of(count, width=12):
    return [encode("l", n, 1.0, {"text": f"{n:0{width}d}"}) for n in range(count)]


def test_a_journal_of_two_hundred_lines_cut_at_every_byte_keeps_every_whole_line(tmp_path):
    lines = lines_of(200)
    path = tmp_path / "j"
    path.write_bytes(b"".join(lines))
    ends = [0]
    for line in lines:
        ends.append(ends[-1] + len(line))
    whole = len(lines)
    for end in range(ends[-1], -1, -1):
        os.truncate(path, end)
        whole -= end < ends[whole]
        known = 0 if end % 50 == 0 else max(0, whole - 2)  # lines that a reader has read before
        chunk = read_chunk(path, start=ends[known])
        assert [line.sequence for line in chunk.lines] == list(range(known, whole))
        assert (chunk.end, chunk.bad_lines) == (ends[whole], 0)


def mutate(data, chance):
    """Change a journal in one of the ways that disks and people do."""
    data = bytearray(data)
    place = chance.randrange(len(data))
    size = chance.randint(1, 60)
    match chance.randrange(6):
        case 0:
            data[place] ^= 1 << chance.randrange(8)
        case 1:
            data[place : place + size] = chance.randbytes(size)
        case 2:
            data[place : place + size] = bytes(len(data[place : place + size]))
        case 3:
            del data[place : place + size]
        case 4:
            data[place:place] = chance.randbytes(size)
        case 5:
            data[place:place] = data[: chance.randrange(len(data))]
    return bytes(data)


@pytest.mark.parametrize(
    "count",
    [pytest.param(2_000, marks=pytest.mark.slow), pytest.param(10_000, marks=pytest.mark.long)],
)
def test_of_thousands_of_mutated_journals_every_intact_line_is_kept_and_every_bad_one_counted(
    tmp_path, count
):
    lines = lines_of(12)
    original = b"".join(lines)
    known = {line.removesuffix(b"\n") for line in lines}
    chance = random.Random(11)
    path = tmp_path / "j"
    for _ in range(count):
        data = mutate(original, chance)
        for _ in range(chance.randrange(3)):
            data = mutate(data, chance) if data else original
        path.write_bytes(data)

        chunk = read_chunk(path)

        pieces = data.split(b"\n")[:-1]
        intact = [piece for piece in pieces if piece in known]
        assert [f"{line.sequence:012d}" for line in chunk.lines] == [
            line.body["text"] for line in chunk.lines
        ]
        assert len(chunk.lines) == len(intact)
        assert chunk.bad_lines == len(pieces) - len(intact)
        assert chunk.bad_bytes == sum(len(p) + 1 for p in pieces if p not in known)


def test_two_attempts_in_either_order_and_a_clock_that_jumps_back_give_the_same_answer(lab):
    """The second attempt completes; by the clock it came first."""
    plan = planned(seeds=(0,))
    first = lab.session("s1", plan, ordinal=1)
    stage = first.stage("full", 0)
    first.train(stage, end="failed")
    first.end()
    lab.now -= 86_400
    second = lab.session("s0", plan, ordinal=2)
    second.train(stage, accuracy=91.0)
    second.end()
    journals = list(lab.folder.journals())
    answers = []
    for order in (journals, journals[::-1]):
        with Store.in_memory(lab.folder) as store:
            store.ingest(lambda order=order: order)
            answers.append(
                store.select(
                    "select stage_now.state, attempts, epoch, study.session from stage_now, study"
                    " where stage = ? and is_latest", [stage.digest],
                )
            )  # fmt: skip

    assert answers[0] == answers[1] == [("complete", 2, 4, "s0")]


@pytest.mark.parametrize("epoch", [0, 2**31, 2**53 + 1, 2**63 - 1])
def test_counters_of_64_bits_come_back_exactly(lab, epoch):
    home = lab.folder.attempts / "a1"
    with lab.writer(home) as journal:
        journal.append(roles.header(1), EpochMetrics(epoch=epoch, values={"teacher.ce": math.inf}))

    with in_memory(lab.folder) as store:
        assert store.select("select epoch, value from metric") == [(epoch, math.inf)]


def test_a_line_of_a_megabyte_is_one_line(lab):
    home = lab.folder.sessions / "s1"
    with lab.writer(home) as journal:
        journal.append(LogLine(text="é" * 1_000_000), LogLine(text="next"))

    with in_memory(lab.folder) as store:
        sizes = store.select("select length(text) from log_line order by sequence")
    assert sizes == [(1_000_000,), (4,)]


@pytest.mark.long
def test_ten_million_rows_in_one_journal(tmp_path):
    """Prints seconds; every value is recomputed."""
    from icckd.journal.folder import StateFolder

    folder = StateFolder(tmp_path / "state")
    folder.create()
    home = folder.attempts / "a7"
    home.mkdir()
    start = time.monotonic()
    with JournalWriter(home / JOURNAL) as journal:
        journal.append(roles.header(7))
        for first in range(1, 1_250_001, 500):
            journal.append(*(roles.metrics(7, n) for n in range(first, first + 500)))
    written = time.monotonic()
    with in_memory(folder) as store:
        ingested = time.monotonic()
        rows, wrong = store.select(
            f"select count(*), count(*) filter (value is distinct from {roles.VALUE_SQL})"
            " from metric"
        )[0]
    print(f"written in {written - start:.0f} s, ingested in {ingested - written:.0f} s")
    assert (rows, wrong) == (10_000_000, 0)
