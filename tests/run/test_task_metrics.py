"""Readers of what tasks write, and the order in which it goes into the journal."""

import json
import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.errors import StageError
from icckd.run.task_metrics import (
    CsvTable,
    EntryLog,
    JsonFile,
    JsonLines,
    Lines,
    Series,
    Summary,
)
from icckd.study.tasks import TaskMetric


def metric(**settings: object) -> TaskMetric:
    return TaskMetric.model_validate(settings)


def test_a_table_is_read_while_it_grows_line_by_whole_line(tmp_path):
    reader = CsvTable(tmp_path, "m.csv", {"acc": metric(csv="m.csv", step="epoch")})
    assert list(reader.poll(last=False)) == []

    with (tmp_path / "m.csv").open("w") as file:
        file.write("epoch,acc,note\n1,0.5,a\n2,0.")
        file.flush()
        assert list(reader.poll(last=False)) == [(1, "acc", 0.5)]
        file.write('75,"b,c"\n3,,none\n4,1.5')
    assert list(reader.poll(last=False)) == [(2, "acc", 0.75)]
    assert list(reader.poll(last=True)) == [(4, "acc", 1.5)]


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_tables_of_other_separators_and_with_a_head_written_twice_are_read(tmp_path, between):
    lines = ["step", "acc"], ["1", "2"], ["step", "acc"], ["2", "3"]
    (tmp_path / "m.csv").write_text("\ufeff" + "".join(between.join(x) + "\r\n" for x in lines))

    reader = CsvTable(tmp_path, "*.csv", {"acc": metric(csv="*.csv")})

    assert list(reader.poll(last=True)) == [(1, "acc", 2.0), (2, "acc", 3.0)]


def test_lines_of_json_are_read_by_dotted_keys_and_others_are_left_out(tmp_path):
    lines = ['{"val": {"acc": 1}, "step": 3}', "no json", "[1]", '{"val.acc": "2.5"}', '{"x": 1}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))

    reader = JsonLines(tmp_path, "log.jsonl", {"acc": metric(jsonl="log.jsonl", key="val.acc")})

    assert list(reader.poll(last=True)) == [(3, "acc", 1.0), (2, "acc", 2.5)]


def test_a_json_file_is_read_once_at_the_end(tmp_path):
    reader = JsonFile(tmp_path, "r.json", {"f1": metric(json="r.json", key="test.1.f1")})
    (tmp_path / "r.json").write_text('{"test": [{}, {"f1": 0.5}]}')

    assert list(reader.poll(last=False)) == []
    assert list(reader.poll(last=True)) == [(None, "f1", 0.5)]
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(StageError, match=r"r\.json is no JSON"):
        list(reader.poll(last=True))


def test_what_an_entry_reports_is_read_with_its_summary(tmp_path):
    (tmp_path / ".icckd").mkdir()
    summary = Summary()
    (tmp_path / ".icckd" / "log.jsonl").write_text(
        '{"kind": "log", "step": 2, "values": {"loss": NaN, "top1": 3}}\n'
        '{"kind": "fingerprint", "name": "w", "digest": "ab"}\n'
        '{"kind": "summary", "values": {"top1": 50}, "right": "10"}\n'
    )

    found = list(EntryLog(tmp_path, summary).poll(last=True))

    assert found[1] == (2, "top1", 3.0)
    assert math.isnan(found[0][2])
    assert (summary.values, summary.right) == ({"top1": 50.0}, (True, False))
    assert summary.fingerprints == {"w": "ab"}


def test_printed_lines_give_values_with_or_without_their_steps():
    lines = Lines({
        "loss": metric(stdout=r"loss=(\S+)"),
        "acc": metric(stdout=r"\[(?P<step>\d+)\] acc (?P<value>[\d.]+)"),
    })  # fmt: skip

    found = list(lines.read(["[5] acc 0.5 loss=1e-3 loss=nan", "loss=oops", "[x] acc 1"]))
    later = list(lines.read(["loss=2"]))

    assert [each for each in found if each[2] == each[2]] == [
        (1, "loss", 0.001), (5, "acc", 0.5)
    ]  # fmt: skip
    assert later == [(3, "loss", 2.0)]


def test_a_pattern_that_never_ends_is_interrupted():
    lines = Lines({"x": metric(stdout=r"(a+)+b")})

    with pytest.raises(StageError, match="takes more than 1 s"):
        list(lines.read(["a" * 40]))


def test_a_step_must_be_a_whole_number(tmp_path):
    for step in ("1.5", "-1", "abc", "nan"):
        (tmp_path / "m.csv").write_text(f"step,acc\n{step},1\n")
        reader = CsvTable(tmp_path, "m.csv", {"acc": metric(csv="m.csv")})
        with pytest.raises(StageError, match="not a whole number"):
            list(reader.poll(last=True))


VALUES = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from("ab"), st.floats(0, 9)), max_size=40
)


@given(VALUES)
def test_every_step_of_a_metric_is_journalled_once_and_the_first_value_counts(values):
    series = Series()
    told = [series.add([value]) for value in values]

    pairs = [(step, name) for new in told for step, named in new.items() for name in named]
    assert len(pairs) == len(set(pairs))
    first: dict[tuple[int, str], float] = {}
    for step, name, value in values:
        first.setdefault((step, name), value)
    assert {
        (s, n): v for new in told for s, named in new.items() for n, v in named.items()
    } == first


@given(
    st.dictionaries(st.integers(0, 20), st.floats(0, 9), max_size=12),
    st.dictionaries(st.integers(0, 20), st.floats(10, 19), max_size=12),
)
def test_of_a_resumed_run_the_newest_value_of_a_step_counts(before, after):
    series = Series()
    series.add_earlier([(step, "a", value) for step, value in before.items()])
    told: dict[int, float] = {}
    for step in sorted(after):
        for at, named in series.add([(step, "a", after[step])]).items():
            assert at not in told
            told[at] = named["a"]
    for at, named in series.rest().items():
        assert at not in told
        told[at] = named["a"]

    assert told == {**before, **after}


def test_outcomes_are_the_value_that_the_study_takes():
    series = Series()
    values = [3.0, 9.0, 1.0, 4.0]
    order = list(enumerate(values, start=1))
    random.Random(0).shuffle(order)
    series.add((step, "a", value) for step, value in order)
    series.add([(None, "alone", 7.0)])

    taken = {take: series.outcome("a", take) for take in ("last", "max", "min", "mean")}
    assert taken == {"last": 4.0, "max": 9.0, "min": 1.0, "mean": 4.25}
    assert (series.outcome("alone", "last"), series.outcome("none", "last")) == (7.0, None)


def test_a_table_that_is_written_anew_every_epoch_is_read_by_its_newest_head(tmp_path):
    table = tmp_path / "m.csv"
    reader = CsvTable(tmp_path, "m.csv", {"acc": metric(csv="m.csv", step="none")})
    table.write_text("acc\n0.5\n")
    assert list(reader.poll(last=False)) == [(1, "acc", 0.5)]

    table.write_text("loss,acc\n9,0.5\n8,0.75\n")  # longer, with another column in front
    assert list(reader.poll(last=False)) == [(1, "acc", 0.5), (2, "acc", 0.75)]
    table.write_text("acc\n0.25\n")  # shorter
    assert list(reader.poll(last=False)) == [(1, "acc", 0.25)]
    table.unlink()
    assert list(reader.poll(last=True)) == []


@pytest.mark.parametrize("row", ["1,0,5", "first,1,0.5", "1,0.5,x"])
def test_a_table_whose_lines_have_more_values_than_its_head_has_names_is_refused(tmp_path, row):
    (tmp_path / "m.csv").write_text(f"step,acc\n{row}\n")
    reader = CsvTable(tmp_path, "m.csv", {"acc": metric(csv="m.csv")})

    with pytest.raises(StageError, match=r"a line has 3 values and the head 2 names"):
        list(reader.poll(last=True))


def test_a_line_that_a_killed_attempt_left_half_written_is_left_out(tmp_path):
    (tmp_path / "m.csv").write_text("step,acc\n1,0.5\n2,0.2,0.25\n3,0.75,\n")
    reader = CsvTable(tmp_path, "m.csv", {"acc": metric(csv="m.csv")})

    assert list(reader.poll(last=True)) == [(1, "acc", 0.5), (3, "acc", 0.75)]


def test_lines_without_an_end_are_left_out_and_those_behind_them_are_read(tmp_path):
    log = tmp_path / "log.jsonl"
    reader = JsonLines(tmp_path, "log.jsonl", {"acc": metric(jsonl="log.jsonl")})
    with log.open("w") as file:
        for _ in range(3):
            file.write("x" * 2_000_000)
            file.flush()
            assert list(reader.poll(last=False)) == []
        file.write('{"acc": 0}\n{"acc": 1}\n')
    assert list(reader.poll(last=False)) == [(1, "acc", 1.0)]
    with log.open("a") as file:
        file.write('{"acc": 2}')
    assert list(reader.poll(last=True)) == [(2, "acc", 2.0)]


def test_numbers_without_bounds_are_infinite_and_steps_without_bounds_are_refused(tmp_path):
    (tmp_path / "log.jsonl").write_text(f'{{"acc": 1{"0" * 400}}}\n{{"acc": -1{"0" * 400}}}\n')
    reader = JsonLines(tmp_path, "log.jsonl", {"acc": metric(jsonl="log.jsonl")})
    assert [value for _, _, value in reader.poll(last=True)] == [math.inf, -math.inf]

    (tmp_path / "log.jsonl").write_text(f'{{"acc": 1, "step": {2**63}}}\n')
    reader = JsonLines(tmp_path, "log.jsonl", {"acc": metric(jsonl="log.jsonl")})
    with pytest.raises(StageError, match=r"is not a whole number from 0 to 2\*\*53"):
        list(reader.poll(last=True))


def test_a_function_may_tell_of_very_many_test_cases(tmp_path):
    (tmp_path / ".icckd").mkdir()
    record = {"kind": "summary", "values": {"top1": 50.0}, "right": "10" * 200_000}
    (tmp_path / ".icckd" / "log.jsonl").write_text(json.dumps(record) + "\n")
    summary = Summary()

    assert list(EntryLog(tmp_path, summary).poll(last=True)) == []

    assert summary.values == {"top1": 50.0}
    assert (len(summary.right), sum(summary.right)) == (400_000, 200_000)


def test_a_value_that_is_told_again_is_no_second_value():
    series = Series()
    series.add([(1, "loss", 0.5), (1, "loss", 0.5), (2, "loss", math.nan), (2, "loss", math.nan)])
    assert series.repeated == {}
    series.add([(1, "loss", 0.25)])
    assert series.repeated == {"loss": 1}


def test_a_long_series_that_begins_anew_in_its_old_folder_takes_a_moment():
    steps = 100_000
    series = Series()
    series.add_earlier((step, "loss", 1.0) for step in range(steps))
    began = time.process_time()

    told = series.add((step, "loss", 2.0) for step in range(steps))

    assert len(told) == steps
    assert {value["loss"] for value in told.values()} == {2.0}
    assert series.rest() == {}
    assert time.process_time() - began < 10
