import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from rich.cells import cell_len

from icckd.study.metrics import metric_named
from icckd.study.observed import read_observed
from icckd.study.records import Hypothesis
from icckd_tui.chart import ChartChoice, chart_of, chart_title, legend_of, smoothed
from icckd_tui.comparison import (
    comparison_detail,
    comparison_table,
    comparison_title,
    excludes_zero,
)
from icckd_tui.data import Frame, Waiting, default_metrics
from icckd_tui.keys import keys_of
from icckd_tui.log import log_table, matches, places_of
from icckd_tui.matrix import matrix_table
from icckd_tui.screens.base import notice_of
from icckd_tui.screens.compare import TIME, costs_of, verdict_outcome, verdict_table
from icckd_tui.screens.curves import CurveScreen
from icckd_tui.screens.dialogs import matching
from icckd_tui.screens.registry import SCREENS, number_keys
from icckd_tui.screens.study import trial_detail, trial_table
from icckd_tui.text import Span, duration, plain, scale_for, wrapped
from icckd_tui.theme import ASCII, BRAILLE
from icckd_tui.widgets.bars import bar_view
from icckd_tui.widgets.chart import CurveChart
from icckd_tui.widgets.plot import Picture, picture_of
from icckd_tui.widgets.table import GridTable
from tests.support import monitor as sample


def frame(metric="student.val_top1", epochs=sample.EPOCHS, **more):
    values = {
        "study": sample.study(),
        "progress": sample.progress(),
        "trials": sample.trials(),
        "comparisons": sample.comparisons(),
        "series": sample.SERIES,
        "curves": {metric: sample.curves(metric, epochs=epochs)},
        "log": sample.log(),
    }
    return Frame(**{**values, **more})


def cell(table, arm, column):
    place = [c.key for c in table.columns].index(column)
    return plain(next(row for row in table.rows if row.key == arm).cells[place])


def test_the_bar_fills_its_width_and_keeps_counts_and_age():
    for width, glyphs in product((60, 80, 100, 160, 240), (BRAILLE, ASCII)):
        text = plain(bar_view(sample.study(), sample.progress(), sample.NOW, width, glyphs))

        case = (width, glyphs.ascii, text)
        assert cell_len(text) == width, case
        assert f"{glyphs.states['failed']} 2" in text, case
        assert "LIVE 0.3 s" in text, case
        assert text.startswith(" icc-ablations"), case


@pytest.mark.parametrize(
    ("session", "age", "label"),
    [
        ("live", 0.3, "LIVE 0.3 s"),
        ("live", 40, "STALE 40 s"),
        ("live", -5, "LIVE 0.0 s"),
        ("ended", 40, "ENDED"),
        ("interrupted", 40, "INTERRUPTED"),
        ("none", 40, "NOT STARTED"),
    ],
)
def test_the_age_says_whether_news_can_be_expected(session, age, label):
    progress = sample.progress(session, newest=sample.NOW - age)

    text = plain(bar_view(sample.study(), progress, sample.NOW, 120, BRAILLE))

    assert text.rstrip().endswith(label)
    assert ("ETA" in text) == (session == "live")


def test_the_bar_says_that_runs_were_imported():
    resolved = {"observed": {"kind": "csv", "files": [{"name": "runs.csv", "sha256": "0"}]}}
    study = replace(sample.study(), observed=read_observed(resolved))

    shown = plain(bar_view(study, sample.progress(), sample.NOW, 120, BRAILLE))

    assert "imported runs" in shown


def test_the_bar_says_that_data_are_synthetic():
    study = replace(sample.study(), resolved={"data": {"kind": "synthetic"}})
    for width in (60, 80, 160):
        shown = [
            plain(bar_view(each, sample.progress(), sample.NOW, width, BRAILLE))
            for each in (study, sample.study())
        ]

        assert "synthetic data" in shown[0], width
        assert "synthetic" not in shown[1], width
        assert [cell_len(line) for line in shown] == [width, width]


def test_the_comparison_shows_difference_interval_star_and_n():
    table = comparison_table(frame(), BRAILLE, compact=False)

    assert cell(table, "no-margin", "student.top1").split() == ["95.10", "−0.90", "±0.40*", "5/8"]
    assert "*" not in cell(table, "no-margin-matched", "student.top1")
    assert "baseline" in cell(table, "full", "student.top1")
    assert cell(table, "full", "teacher.top1").split()[-1] == "8"
    assert "never 3/4" in cell(table, "single-view", "student.convergence")
    assert cell(table, "no-cache-matched", "role") == "control for no-cache"
    assert cell(table, "no-cache", "done") == "3/8 ✗1"
    assert table.rows[0].key == "full"
    assert "MiB" in table.columns[-1].titles[0]


def test_the_cells_of_a_column_line_up():
    table = comparison_table(frame(), BRAILLE, compact=True)

    for place, column in enumerate(table.columns[table.frozen :], table.frozen):
        widths = {cell_len(plain(row.cells[place])) for row in table.rows}
        assert len(widths) == 1
        assert max(widths) <= column.width


def test_an_arm_without_values_says_so():
    table = comparison_table(frame(comparisons=()), BRAILLE, compact=False)

    assert cell(table, "full", "student.top1").split() == ["-", "0/8"]


def test_the_detail_names_interval_pairs_verdict_and_missing_seeds():
    text = plain(comparison_detail(frame(), "no-cache", "student.top1", BRAILLE))

    assert "Δ −1.70 [−2.10, −1.30] %" in text
    assert "4 pairs" in text
    assert "corrected 0.024" in text
    assert "without seed 4, 5, 6, 7" in text
    assert "−1.70: worse without the negative cache · the part helps · student.top1 · Δ" in text


def asked(*questions):
    """The sample with a rule, and with these pairs of an arm and an outcome as its questions."""
    hypotheses = tuple(Hypothesis(arm=arm, metric=metric, smallest_effect=1.0)
                       for arm, metric in questions)  # fmt: skip
    return frame(study=replace(sample.study(), rule="one extension", hypotheses=hypotheses))


def test_there_is_a_verdict_on_every_question_of_the_study():
    several = asked(
        ("no-margin", "student.top1"), ("no-cache", "teacher.top1"), ("no-cache", "student.top1")
    )
    table = verdict_table(several, frozenset(), BRAILLE)

    assert table.columns[5].titles == ("corrected p",)
    names = {row.key: plain(row.cells[0]).strip() for row in table.rows}
    assert names["no-margin"].endswith("no-margin, student.top1")
    assert names["no-cache"].endswith("no-cache, teacher.top1")
    assert names["no-cache\0student.top1"].endswith("no-cache, student.top1")
    verdicts = {row.key: plain(row.cells[2]) for row in table.rows}
    assert verdicts["no-cache\0student.top1"] == "the part helps"
    assert verdict_outcome(several) is None


def test_verdicts_on_one_outcome_name_the_arms_alone():
    one = asked(("no-margin", "student.top1"), ("no-cache", "student.top1"))

    assert verdict_outcome(one) == "student.top1"
    keys = [row.key for row in verdict_table(one, frozenset(), BRAILLE).rows]
    assert keys == [arm.name for arm in one.study.arms if arm.name != one.study.baseline]
    text = plain(comparison_detail(one, "no-cache", "student.top1", BRAILLE))
    assert "(corrected 0.024)" in text


def test_without_the_baseline_the_questions_of_the_study_are_not_asked():
    whole = asked(("no-cache", "teacher.top1"))
    other = replace(whole, request=replace(whole.request, against="no-margin"))

    assert not other.is_declared
    assert verdict_outcome(other) == other.study.primary


def test_an_interval_excludes_zero_on_either_side():
    row = sample.comparisons()[1]

    assert excludes_zero(replace(row, low=0.1, high=0.2))
    assert excludes_zero(replace(row, low=-0.2, high=-0.1))
    assert not excludes_zero(replace(row, low=-0.1, high=0.1))
    assert not excludes_zero(replace(row, low=None, high=None))


def test_a_running_study_is_provisional():
    done = sample.progress(trials=sample.StateCounts(complete=56))

    assert "provisional" in comparison_title(frame(), BRAILLE)
    assert "provisional" not in comparison_title(frame(progress=done), BRAILLE)


def test_what_needs_eyes_comes_first_in_the_trial_list():
    table = trial_table(frame(), sample.trials(), BRAILLE)

    states = [plain(row.cells[2]) for row in table.rows]
    assert states[0] == "▶ running"
    assert states.index("✗ failed") < states.index("· pending") < states.index("✓ complete")
    failed = next(t for t in sample.trials() if t.state == "failed")
    assert failed.reason in plain(trial_detail(failed, BRAILLE))


def test_log_lines_have_levels_as_words_and_their_own_keys():
    lines = sample.log()
    table = log_table((*lines, lines[-1]), places_of(sample.study()))

    assert len({row.key for row in table.rows}) == len(table.rows)
    assert plain(table.rows[-1].cells[1]) == "ERROR"
    assert plain(table.rows[-1].cells[2]) == "D s3 teacher"


def test_log_lines_are_kept_by_level_and_found_by_their_text():
    places = places_of(sample.study())
    warnings = log_table(sample.log(), places, level="warning")

    assert {plain(row.cells[1]) for row in warnings.rows} == {"WARN", "ERROR"}
    assert len(log_table(sample.log(), places, level="error").rows) == 1
    assert matches(warnings, "NOT FINITE") == [len(warnings.rows) - 1]
    assert matches(warnings, "") == []


def test_charts_start_with_accuracy_and_loss_of_the_judged_stage():
    first = default_metrics(sample.study(), sample.SERIES)

    assert first[:4] == ("student.val_top1", "student.ce", "teacher.val_top1", "teacher.ce")
    assert set(first) == set(sample.SERIES)
    assert default_metrics(sample.study(), ("teacher.lr",)) == ("teacher.lr",)
    assert default_metrics(sample.study(), ()) == ()


def test_notices():
    assert "60x16" in notice_of(None, frame(), 59, 40)
    assert "60x16" in notice_of(None, frame(), 80, 15)
    assert notice_of(None, frame(), 60, 16) == ""
    assert "no study" in notice_of(Waiting("no study here yet"), None, 80, 24)
    assert "session begins" in notice_of(Waiting("no study here yet"), None, 80, 24, begins=True)


def chart(choice, epochs=sample.EPOCHS, metric="student.val_top1", **more):
    return chart_of(frame(metric, epochs, **more), metric, choice)


def picture(choice, epochs=sample.EPOCHS, size=(90, 20), glyphs=BRAILLE, **more):
    return picture_of(chart(choice, epochs), *size, glyphs, **more)


def test_axes_stay_when_focus_moves_and_when_a_curve_grows():
    early = chart(ChartChoice(focus="no-cache"), epochs=9)
    late = chart(ChartChoice(focus="plain-kd"))

    assert (early.x_low, early.x_high) == (late.x_low, late.x_high) == (1.0, 30.0)
    assert [line.prominence for line in late.lines][-2:] == ["baseline", "focus"]
    labels = [text_of(picture(ChartChoice(focus=arm)))[row][:8] for arm in ("full", "no-cache")
              for row in range(20)]  # fmt: skip
    assert labels[:20] == labels[20:]


def y_labels(choice):
    rows = text_of(picture(choice))
    found = [row[:7].strip() for row in rows[:-2]]
    return [float(text) for text in found if text]


def test_a_part_of_x_has_the_y_range_that_it_needs():
    whole, late = y_labels(ChartChoice(focus="full")), y_labels(
        ChartChoice(focus="full", window=(0.5, 1.0))
    )  # fmt: skip

    assert max(late) - min(late) < (max(whole) - min(whole)) / 2
    half = chart(ChartChoice(focus="full", window=(0.5, 1.0)))
    assert (half.x_low, half.x_high) == (15.5, 30.0)


@pytest.mark.parametrize(
    ("axis", "low", "high", "unit"),
    [("epoch", 1, 30, "epoch"), ("step", 0, 210, "step"), ("relative", 0, 100, "%")],
)
def test_x_is_epochs_steps_or_shares_of_what_is_planned(axis, low, high, unit):
    drawn = chart(ChartChoice(focus="full", x=axis), epochs=20)

    assert (drawn.x_low, drawn.x_high, drawn.x_unit) == (low, high, unit)
    assert drawn.lines[-1].x_E[-1] == pytest.approx(high * 20 / 30 if low == 0 else 20)


def test_x_is_seconds_where_they_are_known_and_epochs_elsewhere():
    seconds = sample.curves("student.train_seconds")
    seconds = tuple(replace(c, mean_E=2.5 * c.epochs_E * (1 + p)) for p, c in enumerate(seconds))
    curves = {"student.val_top1": sample.curves(), "student.train_seconds": seconds}
    known = chart(ChartChoice(focus="full", x="time"), curves=curves)

    assert known.x_unit == "s"
    assert known.lines[-1].x_E[-1] == pytest.approx(75.0)
    assert known.x_high == pytest.approx(75.0 * 7)
    assert chart(ChartChoice(focus="full", x="time")).x_unit == "epoch"


def test_only_the_arms_that_are_wanted_are_drawn():
    drawn = chart(ChartChoice(focus="no-cache", only=frozenset({"full", "no-cache"})))

    assert [line.name for line in drawn.lines] == ["full", "no-cache"]


def test_title_and_legend_name_what_is_drawn():
    choice = ChartChoice(focus="no-cache", seeds="each", log_y=True, smoothing=3)

    title = chart_title(metric_named("student.val_top1"), choice, BRAILLE)
    assert title == "student.val_top1 (%) · each seed · smoothed 0.9 · log y"
    legend = plain(legend_of(chart(choice), BRAILLE))
    assert legend.startswith(" D no-cache  A full ")


def test_the_value_cursor_reads_the_nearest_point():
    drawn = chart(ChartChoice(focus="no-cache", cursor=0.5))
    curve = next(c for c in sample.curves() if c.arm == "no-cache")

    text = plain(legend_of(drawn, BRAILLE))
    half = (curve.high_E[15] - curve.low_E[15]) / 2
    assert text.startswith(" epoch 16  D ")
    assert f"D {curve.mean_E[15]:.2f} ±{half:.2f}" in text
    assert "│" in "".join(text_of(picture(ChartChoice(focus="full", cursor=0.5)))[12][10:])


@pytest.mark.parametrize("weight", [0.0, 0.6, 0.98])
def test_smoothing_is_the_debiased_running_mean_of_every_value(weight):
    values = np.random.default_rng(0).normal(0, 1, (2, 700))
    values[0, 5] = values[1, 0] = np.nan

    found = smoothed(values, weight)

    for row, got in zip(values, found, strict=True):
        total, share = 0.0, 0.0
        for value, have in zip(row, got, strict=True):
            if np.isnan(value):
                assert np.isnan(have)
                continue
            total, share = weight * total + (1 - weight) * value, weight * share + 1 - weight
            assert have == pytest.approx(total / share, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("choice", [{"log_x": True}, {"log_x": True, "log_y": True}])
def test_logarithmic_axes_have_round_ticks(choice):
    rows = text_of(picture(ChartChoice(focus="full", **choice)))

    assert rows[-1].split()[:4] == ["epoch", "1", "2", "5"]


def text_of(drawn):
    return ["".join(map(chr, row)) for row in drawn.codes]


def test_a_chart_has_ticks_and_a_letter_for_every_arm():
    rows = text_of(picture(ChartChoice(focus="no-cache")))

    assert rows[-1].split() == ["epoch", "1", "5", "10", "15", "20", "25", "30"]
    assert {"50", "60", "70", "80", "90"} <= set(
        " ".join(r[:8] for r in rows).replace("┤", " ").split()
    )
    ends = "".join(row[-4:] for row in rows)
    assert set("ABCDEFG") <= set(ends)


def test_an_ascii_chart_is_ascii():
    rows = text_of(picture(ChartChoice(focus="full"), glyphs=ASCII, shaded=True))

    assert "".join(rows).isascii()


def test_a_grown_curve_changes_few_cells():
    before, after = (picture(ChartChoice(focus="no-cache"), epochs=n) for n in (20, 20))
    assert after.changed_spans(before) == []

    grown = picture(ChartChoice(focus="no-cache"), epochs=21)
    cells = sum(b - a for _, a, b in grown.changed_spans(before))
    assert 0 < cells < before.codes.size / 4


def test_small_and_empty_charts_are_blank_and_never_fail():
    for size in [(1, 1), (15, 30), (40, 3), (16, 4), (17, 5)]:
        assert picture(ChartChoice(focus="full"), size=size).codes.shape == size[::-1]
    empty = picture_of(chart(ChartChoice(focus="full"), curves={}), 40, 10, BRAILLE)
    assert empty.changed_spans(Picture.blank(40, 10)) == []


def test_scales_and_durations():
    assert scale_for("bytes", [5 * 2.0**30]).value(2.0**30) == "1.0"
    assert scale_for("bytes", []).unit == "B"
    assert scale_for("1", [0.5]).value(0.5) == "0.500"
    assert scale_for("1", [0.00042]).value(0.00042) == "0.000420"
    assert scale_for("%", [1.0]).value(None) == scale_for("%", [1.0]).value(math.nan) == "-"
    assert scale_for("epochs", [math.inf]).value(math.inf) == "never"
    assert duration(-1) == "0.0 s"


def test_wrapping_keeps_every_word():
    lines = wrapped((Span("one two three "), Span("four five", "strong")), 9, 3)

    assert [plain(line).split() for line in lines] == [["one", "two"], ["three"], ["four", "five"]]
    assert wrapped((), 9, 3) == []
    assert len(wrapped((Span("a b c d e f"),), 3, 2)) == 2


def test_no_key_means_two_things_at_once():
    for entry in SCREENS.values():
        for widget in (GridTable, CurveChart):
            listed = (*number_keys(), *keys_of(entry.load()), *keys_of(widget))
            names = [name for key in listed for name in key.key.split(",")]
            assert sorted(names) == sorted(set(names)), entry.name


def test_every_key_is_described_and_its_action_is_there():
    for entry in SCREENS.values():
        for key in keys_of(entry.load()):
            assert key.description, key
            if not key.action.startswith("app."):
                assert hasattr(entry.load(), f"action_{key.action.split('(')[0]}"), key
    for key in (*keys_of(GridTable), *keys_of(CurveChart)):
        owner = CurveScreen if key.action.startswith("screen.") else GridTable
        name = key.action.removeprefix("screen.").split("(")[0]
        assert key.description
        assert hasattr(owner, f"action_{name}"), key


@pytest.mark.parametrize("glyphs", [BRAILLE, ASCII])
@pytest.mark.parametrize("height", [6, 9, 20])
@pytest.mark.parametrize("count", [2, 7, 12])
def test_no_letter_stands_on_another_at_the_ends_of_curves(glyphs, height, count):
    arms = tuple((f"arm {n}", "variant", "", None, 95.0 + n % 3 / 100) for n in range(count))
    it = frame(study=sample.study(arms), curves={"student.val_top1": sample.curves(arms=arms)})
    chart = chart_of(it, "student.val_top1", ChartChoice(focus="arm 1"))
    picture = picture_of(chart, 90, height, glyphs)
    rows = ["".join(map(chr, picture.codes[row])) for row in range(height - 2)]
    letters = [char for row in rows for char in row[84:] if char.isalpha()]

    assert sorted(letters) == sorted(line.letter for line in chart.lines)
    if count <= 2 * (height - 2):
        assert not any(a.isalpha() and b.isalpha() for row in rows for a, b in pairwise(row[84:]))


def test_the_metric_filter_takes_letters_in_order():
    assert matching(sample.SERIES, "tval")[0] == "teacher.val_top1"
    assert matching(sample.SERIES, "") == sample.SERIES
    assert matching(sample.SERIES, "zzz") == ()


def test_metrics_without_any_value_come_last():
    rows = [
        replace(row, n=0) if row.metric == "teacher.top1" else row for row in sample.comparisons()
    ]

    table = comparison_table(frame(comparisons=tuple(rows)), BRAILLE, compact=False)

    assert [column.key for column in table.columns][3::4] == ["student.top1", "teacher.top1"]


@pytest.mark.parametrize("glyphs", [BRAILLE, ASCII])
def test_in_a_narrow_matrix_settings_are_shortened_and_no_difference(glyphs):
    wide = matrix_table(frame(), "student.top1", glyphs, frozenset())
    narrow = matrix_table(frame(), "student.top1", glyphs, frozenset(), 56)

    def width_taken(table):
        return sum(column.width + 2 for column in table.columns)

    assert width_taken(narrow) <= 56 < width_taken(wide)
    assert [column.key for column in narrow.columns] == ["factor", "level:0"]
    assert [row.key for row in narrow.rows] == [row.key for row in wide.rows]
    for short, whole in zip(narrow.rows, wide.rows, strict=True):
        assert plain(short.cells[-1]).split() == plain(whole.cells[-1]).split()
    middle = matrix_table(frame(), "student.top1", glyphs, frozenset(), width_taken(wide) - 8)
    assert [column.key for column in middle.columns] == ["factor", "baseline", "level:0"]
    assert matrix_table(frame(), "student.top1", glyphs, frozenset(), 200) == wide


def test_arms_are_set_against_times_only_where_trials_have_times_of_their_own():
    alone, packed = costs_of(frame()), costs_of(frame(is_packed=True))

    assert alone[0] == TIME
    assert packed == alone[1:]
