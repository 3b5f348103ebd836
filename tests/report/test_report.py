"""Golden reports of a fixed set of test journals; after a wanted change, delete and rerun."""

import csv
import doctest
import io
import json
import math
from pathlib import Path

import pytest

from icckd.report import REPORTERS
from icckd.report import text as text_module
from icckd.report.cells import Scale, difference_cell, mean_cell, p_text, scale_of
from icckd.report.text import bytes_text, display, duration, write_lines
from icckd.results.read import open_results
from icckd.results.types import Comparison
from tests.store.conftest import planned

GOLDEN = Path(__file__).parent / "golden"


def report(results, name):
    out = io.StringIO()
    REPORTERS[name](results, results.study(), out)
    return out.getvalue()


@pytest.mark.parametrize("name", sorted(REPORTERS))
def test_a_report_is_what_it_was(results, name):
    path = GOLDEN / f"report.{name}"

    assert report(results, name) == path.read_text()


def test_the_table_fits_a_hundred_columns_and_has_no_colour(results):
    text = report(results, "table")

    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text


def test_the_table_says_what_a_reader_must_know(results):
    text = report(results, "table")

    for words in (
        "What do margin and cache contribute?", "11 of 12 trials complete",
        'teacher.intra.margin: {"threshold": 0.5} -> "off"', "control for no-margin",
        "no-cache lacks seed 2: failed (NonFiniteError", "teacher.memory_allocated has no value",
        "110 % of", "training randomness", "2 of 2 never", "test set is used once", "Holm",
        "±0.5 points",
    ):  # fmt: skip
        assert words in " ".join(text.split()), words


def test_csv_and_json_hold_every_field_of_every_comparison(results):
    study = results.study()
    rows = list(csv.DictReader(io.StringIO(report(results, "csv"))))
    document = json.loads(report(results, "json"))
    expected = results.comparisons(study)

    assert len(rows) == len(document["comparisons"]) == len(expected) == 4 * 6
    for text, record, row in zip(rows, document["comparisons"], expected, strict=True):
        assert (text["arm"], text["metric"], int(text["n"])) == (row.arm, row.metric, row.n)
        assert set(record) == set(Comparison.__dataclass_fields__)
        assert (float(text["mean"]) if text["mean"] else None) == record["mean"]
        assert record["mean"] == (None if row.mean is None else pytest.approx(row.mean, rel=1e-9))
        assert record["missing"] == list(row.missing)
    never = next(r for r in document["comparisons"] if r["never"])
    assert never["median"] == "inf"
    assert [arm["name"] for arm in document["arms"]] == [arm.name for arm in study.arms]


def test_a_report_of_a_study_without_results_is_still_a_report(lab):
    with lab.finished("s1", planned()):
        pass
    with open_results(lab.folder) as results:
        for name in REPORTERS:
            assert "no-margin" in report(results, name)
        text = " ".join(report(results, "table").split())

    assert "0 of 12 trials complete" in text
    assert "nothing to judge yet" in text
    assert "no-cache lacks seeds 0-2: pending" in text


def test_names_and_titles_of_a_study_cannot_act_on_a_terminal(lab):
    evil = "\x1b]52;c;aGk=\x07[red]x\u202eabc\n| <b>"
    plan = planned(seeds=(0,))
    arms = [arm.model_copy(update={"title": evil, "action": evil}) for arm in plan.arms]
    study = {**plan.study, "study": {**plan.study["study"], "question": evil}}
    with lab.finished("s1", plan.model_copy(update={"arms": arms, "study": study})) as session:
        session.train(session.stage("full", 0), end="failed")
        session.say(session.stage("no-cache", 0), "failed", reason=evil)
    with open_results(lab.folder) as results:
        for name in REPORTERS:
            text = report(results, name)
            assert not set(text) & {"\x1b", "\x07", "\u202e"}, name
        assert "<b>" not in report(results, "md").replace("\\<b\\>", "")


def test_long_arm_names_do_not_break_the_table(lab):
    long = "a" * 120
    arms = (
        ("full", "baseline", "", None, ()),
        (long, "control", "", "b" * 120, (("teacher.x", 1, 2),)),
    )
    with lab.finished("s1", planned(arms=arms)) as session:
        session.train_all()
    with open_results(lab.folder) as results:
        lines = report(results, "table").splitlines()

    assert max(map(len, lines)) <= 100
    assert any(line.startswith("a" * 29 + "…") for line in lines)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("a\tb\r\nc", "a b  c"), ("\x1b[2J", "[2J"), ("\x9b1m", "1m"),
     ("\u202eabc", "abc"), ("\u2066x\u2069", "x"), ("\ud800", ""), ("é 漢 🙂", "é 漢 🙂"),
     ("\x00\x7f", ""), ("\u2028", "")],
)  # fmt: skip
def test_display_drops_what_is_not_for_the_eye(text, shown):
    assert display(text) == shown


def test_display_shortens():
    assert display("x" * 20, 5) == "xxxx…"
    assert len(display("x" * 10**6)) == 500


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.97, "1 min 0 s"), (3599.6, "1 h 0 min"),
     (7200, "2 h 0 min"), (86_399, "1 d 0 h"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_durations_carry_over(seconds, text):
    assert duration(seconds) == text


def test_the_examples_in_docstrings_hold():
    assert doctest.testmod(text_module).failed == 0


def test_sizes_are_binary():
    assert [bytes_text(n) for n in (0, 1023, 1024, 1 << 30, 1 << 50)] == [
        "0 B", "1023 B", "1.0 KiB", "1.0 GiB", "1024.0 TiB",
    ]  # fmt: skip


def test_a_stream_that_knows_only_ascii_gets_ascii(tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        write_lines(out, ["1 ± 2…", "漢"])

    assert (tmp_path / "out").read_text() == "1 +- 2...\n?\n"


def row(**fields):
    base = dict.fromkeys(Comparison.__dataclass_fields__)
    base |= {"arm": "a", "metric": "m", "unit": "1", "n": 3, "never": 0, "pairs": 3, "missing": ()}
    return Comparison(**{**base, **fields})


@pytest.mark.parametrize(
    ("unit", "largest", "scale"),
    [("bytes", 3e8, ("MiB", 1 << 20, 2)), ("bytes", 900, ("bytes", 1, 0)), ("%", 94, ("%", 1, 2)),
     ("s", 123.4, ("s", 1, 1)), ("nats", 0.0123, ("nats", 1, 5)), ("1", 0.0, ("", 1, 3)),
     ("s", 12345.0, ("s", 1, 0)), ("bytes", 0.0, ("bytes", 1, 0))],
)  # fmt: skip
def test_a_column_has_one_scale(unit, largest, scale):
    found = scale_of([row(unit=unit, mean=largest), row(unit=unit, median=math.inf)])

    assert (found.unit, found.factor, found.decimals) == scale


def test_cells():
    percent = Scale(unit="%", factor=1, decimals=2)

    assert mean_cell(row(n=0), percent) == "-"
    assert mean_cell(row(n=1, mean=90.0), percent) == "90.00 (1)"
    assert mean_cell(row(mean=90.0, spread=0.5), percent) == "90.00 ± 0.50 (3)"
    assert mean_cell(row(never=1, median=3.0), percent) == "median 3.00, 1 of 3 never"
    assert mean_cell(row(never=2, median=math.inf), percent) == "2 of 3 never"
    assert difference_cell(row(), percent) == ""
    assert (
        difference_cell(row(difference=-0.001, low=-1.0, high=1.0), percent)
        == "0.00 [-1.00, +1.00]"
    )
    assert difference_cell(row(difference=1.0, low=0.5, high=1.5, pairs=2), percent) == (
        "+1.00 [+0.50, +1.50] 2 pairs"
    )
    assert [p_text(p) for p in (None, 0.0, 0.0004, 0.0312, 1.0)] == [
        "-", "<0.001", "<0.001", "0.031", "1.000",
    ]  # fmt: skip
