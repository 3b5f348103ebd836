"""Golden reports of a fixed set of test journals; after a wanted change, delete and rerun."""

import csv
import doctest
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from icckd.report import numbers
from icckd.report import text as text_module
from icckd.report.numbers import Scale, bytes_text, duration, screen_scale
from icckd.report.rule_text import caption_rule, statistics_text, verdict_rule
from icckd.report.text import (
    difference_cell,
    display,
    mean_cell,
    p_text,
    scale_of,
    write_lines,
)
from icckd.results.query import open_results
from icckd.results.types import Comparison
from tests.support.lab import ARMS, planned
from tests.support.reports import TEXT_FORMATS, report

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", TEXT_FORMATS)
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
        of_items = {
            "about",
            "items",
            "groups",
            "items_apart",
            "item_error",
            "more_items",
        }  # of studies that compare some
        assert set(record) == set(Comparison.__dataclass_fields__) - of_items
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
        for name in TEXT_FORMATS:
            assert "no-margin" in report(results, name)
        text = " ".join(report(results, "table").split())

    assert "0 of 12 trials complete" in text
    assert "nothing to judge yet" in text
    assert "no-cache lacks seeds 0-2: pending" in text


def test_a_study_without_a_primary_question_is_told_that_it_has_no_verdicts(results):
    study = replace(results.study(), hypotheses=(), rule="fixed")

    for text in (verdict_rule(study), " ".join(statistics_text(study)), caption_rule(study)):
        assert "0 questions" not in text
    assert "no primary question" in verdict_rule(study)
    assert "no primary question" in " ".join(statistics_text(study))


@pytest.mark.parametrize("where", ["no-cache", "full"])
def test_a_report_names_the_pairs_that_were_not_computed_alike(lab, where):
    """Another torch under seed 1: of one arm, or of the baseline that all are compared with."""
    with lab.finished("s1", planned()) as session:
        header = session._header

        def told(stage, name, *pack):
            is_other = stage.digest in {session.stage(where, 1, n).digest for n in (0, 1)}
            environment = {"torch": "2.12.0" if is_other else "2.11.0", "cpu": "A CPU", "gpus": ""}
            return header(stage, name, *pack).model_copy(update={"environment": environment})

        session._header = told
        session.train_all()
    with open_results(lab.folder) as results:
        words = " ".join(report(results, "table").split())

    arms = [where] if where != "full" else [name for name, *_ in ARMS if name != "full"]
    told = ", ".join(f"{arm} under seed 1" for arm in sorted(arms))
    assert f"hold those of torch or of the device, too: {told}." in words


def test_a_report_names_the_arms_and_seeds_of_each_gpu_model_where_models_differ(lab):
    with lab.finished("s1", planned()) as session:
        session.gpu = "NVIDIA H100 80GB HBM3"
        session.train_all(skip=[("no-cache", 1), ("no-cache", 2)])
        with open_results(lab.folder) as results:
            assert "different models" not in report(results, "table")
        session.gpu = "NVIDIA A100-SXM4-80GB"
        for seed in (1, 2):
            for position in (0, 1):
                session.train(session.stage("no-cache", seed, position))
    with open_results(lab.folder) as results:
        words = " ".join(report(results, "table").split())

    assert "Stages were trained on GPUs of different models" in words
    assert "on NVIDIA A100-SXM4-80GB no-cache seeds 1-2; on NVIDIA H100 80GB HBM3" in words
    assert "no-cache seed 0" in words


def test_names_and_titles_of_a_study_cannot_act_on_a_terminal(lab):
    evil = "\x1b]52;c;aGk=\x07[red]x\u202eabc\n| <b>"
    plan = planned(seeds=(0,))
    arms = tuple(replace(arm, title=evil, action=evil) for arm in plan.arms)
    study = {**plan.study, "study": {**plan.study["study"], "question": evil}}
    with lab.finished("s1", plan.model_copy(update={"arms": arms, "study": study})) as session:
        session.train(session.stage("full", 0), end="failed")
        session.say(session.stage("no-cache", 0), "failed", reason=evil)
    with open_results(lab.folder) as results:
        for name in TEXT_FORMATS:
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


def test_display_drops_what_is_not_for_the_eye():
    for text, shown in (
        ("plain", "plain"), ("a\tb\r\nc", "a b  c"), ("\x1b[2J", "[2J"), ("\x9b1m", "1m"),
        ("\u202eabc", "abc"), ("\u2066x\u2069", "x"), ("\ud800", ""), ("é 漢 🙂", "é 漢 🙂"),
        ("\x00\x7f", ""), ("\u2028", ""),
    ):  # fmt: skip
        assert display(text) == shown, ascii(text)


def test_display_shortens():
    assert display("x" * 20, 5) == "xxxx…"
    assert len(display("x" * 10**6)) == 500


def test_durations_carry_over():
    for seconds, text in (
        (-1, "0.0 s"), (0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"),
        (59.6, "1 min"), (75, "1 min 15 s"), (599, "9 min 59 s"), (601, "10 min"),
        (3599.6, "1 h"), (7200, "2 h"), (86_399, "23 h 59 min"), (90_000, "25 h"), (172_800, "2 d"),
        (200_000, "2 d 7 h"),
    ):  # fmt: skip
        assert duration(seconds) == text, seconds


def test_the_examples_in_docstrings_hold():
    assert doctest.testmod(text_module).failed == 0
    assert doctest.testmod(numbers).failed == 0


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


def test_a_column_has_one_scale():
    for unit, largest, scale in (
        ("bytes", 3e8, ("MiB", 1 << 20, 2)), ("bytes", 900, ("bytes", 1, 0)),
        ("bytes", 0.0, ("bytes", 1, 0)), ("%", 94, ("%", 1, 2)), ("s", 123.4, ("s", 1, 1)),
        ("s", 12345.0, ("s", 1, 0)), ("nats", 0.0123, ("nats", 1, 5)), ("1", 0.0, ("", 1, 3)),
    ):  # fmt: skip
        found = scale_of([row(unit=unit, mean=largest), row(unit=unit, median=math.inf)])
        assert (found.unit, found.divisor, found.decimals) == scale, (unit, largest)


def test_a_screen_shows_fewer_digits_and_the_sign_of_every_difference():
    for unit, largest, scale in (
        ("bytes", 3e8, ("MiB", 1 << 20, 1)), ("bytes", 900, ("B", 1, 0)), ("%", 94, ("%", 1, 2)),
        ("s", 123.4, ("s", 1, 1)), ("nats", 0.0123, ("nats", 1, 4)), ("steps", 7, ("steps", 1, 0)),
        ("1", 0.0, ("", 1, 3)), ("1", 12.0, ("", 1, 1)), ("1", 0.0123, ("", 1, 4)),
    ):  # fmt: skip
        found = screen_scale(unit, [largest, None, math.inf])
        assert (found.unit, found.divisor, found.decimals) == scale, (unit, largest)
    percent = screen_scale("%", [])

    assert [percent.difference(v) for v in (0.0, -0.001, 1.0, None)] == [
        "+0.00", "-0.00", "+1.00", "-",
    ]  # fmt: skip
    assert [percent.value(v) for v in (None, math.nan, math.inf)] == ["-", "-", "never"]


def test_cells():
    percent = Scale("%", 1, 2, signs_zero=False)

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
