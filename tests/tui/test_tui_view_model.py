import math
from dataclasses import replace

import pytest
import tui_sample as sample
from rich.cells import cell_len

from icckd_tui.glyphs import ASCII, BRAILLE
from icckd_tui.keymap import KEYS
from icckd_tui.screens.metric_picker import matching
from icckd_tui.view_model.bar import bar_view
from icckd_tui.view_model.chart import ChartChoice, chart_of, chart_title, legend_of
from icckd_tui.view_model.comparison import (
    comparison_detail,
    comparison_table,
    comparison_title,
    excludes_zero,
)
from icckd_tui.view_model.frame import Frame, Waiting, default_metric, notice_of
from icckd_tui.view_model.log import log_table
from icckd_tui.view_model.numbers import duration, scale_for
from icckd_tui.view_model.spans import Span, plain, wrapped
from icckd_tui.view_model.trials import trial_detail, trial_table
from icckd_tui.widgets.picture import Picture, picture_of


def frame(metric="student.val_top1", epochs=sample.EPOCHS, **more):
    values = {
        "study": sample.study(),
        "progress": sample.progress(),
        "trials": sample.trials(),
        "comparisons": sample.comparisons(),
        "series": sample.SERIES,
        "metric": metric,
        "curves": sample.curves(metric, epochs=epochs),
        "log": sample.log(),
    }
    return Frame(**{**values, **more})


def cell(table, arm, column):
    place = [c.key for c in table.columns].index(column)
    return plain(next(row for row in table.rows if row.key == arm).cells[place])


@pytest.mark.parametrize("width", [60, 80, 100, 160, 240])
@pytest.mark.parametrize("glyphs", [BRAILLE, ASCII])
def test_the_bar_fills_its_width_and_keeps_counts_and_age(width, glyphs):
    spans = bar_view(sample.study(), sample.progress(), sample.NOW, width, glyphs)

    text = plain(spans)
    assert cell_len(text) == width
    assert f"{glyphs.states['failed']} 2" in text
    assert "LIVE 0.3 s" in text
    assert text.startswith(" icc-ablations")


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


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_bar_says_that_data_are_synthetic(width):
    study = replace(sample.study(), resolved={"data": {"kind": "synthetic"}})
    shown = [
        plain(bar_view(each, sample.progress(), sample.NOW, width, BRAILLE))
        for each in (study, sample.study())
    ]

    assert "synthetic data" in shown[0]
    assert "synthetic" not in shown[1]
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
    assert "Holm 0.024" in text
    assert "without seed 4, 5, 6, 7" in text
    assert text.endswith("the part helps")


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
    table = trial_table(frame(), BRAILLE)

    states = [plain(row.cells[2]) for row in table.rows]
    assert states[0] == "▶ running"
    assert states.index("✗ failed") < states.index("· pending") < states.index("✓ complete")
    failed = next(t for t in sample.trials() if t.state == "failed")
    assert failed.reason in plain(trial_detail(failed, BRAILLE))


def test_log_lines_have_levels_as_words_and_their_own_keys():
    lines = sample.log()
    table = log_table((*lines, lines[-1]))

    assert len({row.key for row in table.rows}) == len(table.rows)
    assert plain(table.rows[-1].cells[1]) == "ERROR"


def test_the_first_metric_is_validation_accuracy_of_the_judged_stage():
    assert default_metric(sample.study(), sample.SERIES) == "student.val_top1"
    assert default_metric(sample.study(), ("teacher.ce", "teacher.val_top1")) == "teacher.val_top1"
    assert default_metric(sample.study(), ("teacher.ce",)) == "teacher.ce"
    assert default_metric(sample.study(), ()) is None


def test_notices():
    assert "60x16" in notice_of(None, frame(), 59, 40)
    assert "60x16" in notice_of(None, frame(), 80, 15)
    assert notice_of(None, frame(), 60, 16) == ""
    assert "no study" in notice_of(Waiting("no study here yet"), None, 80, 24)


def test_axes_stay_when_focus_moves_and_when_a_curve_grows():
    early = chart_of(frame(epochs=9), ChartChoice(focus="no-cache"))
    late = chart_of(frame(), ChartChoice(focus="plain-kd"))

    assert (early.x_low, early.x_high) == (late.x_low, late.x_high) == (1.0, 30.0)
    other = chart_of(frame(), ChartChoice(focus="full"))
    assert (other.y_low, other.y_high) == (late.y_low, late.y_high)
    assert [line.prominence for line in late.lines][-2:] == ["baseline", "focus"]


def test_the_later_half_needs_a_smaller_y_range():
    whole = chart_of(frame(), ChartChoice(focus="full"))
    late = chart_of(frame(), ChartChoice(focus="full", late=True))

    assert late.y_high - late.y_low < (whole.y_high - whole.y_low) / 3


def test_title_and_legend_name_what_is_drawn():
    choice = ChartChoice(focus="no-cache", seeds=True, log=True)

    assert chart_title(frame(), choice, BRAILLE) == "student.val_top1 (%) · each seed · log"
    assert plain(legend_of(chart_of(frame(), choice))).startswith(" D no-cache  A full ")


def picture(choice, epochs=sample.EPOCHS, size=(90, 20), glyphs=BRAILLE, **more):
    return picture_of(chart_of(frame(epochs=epochs), choice), *size, glyphs, **more)


def text_of(drawn):
    return ["".join(map(chr, row)) for row in drawn.codes]


def test_a_chart_has_ticks_and_a_letter_for_every_arm():
    rows = text_of(picture(ChartChoice(focus="no-cache")))

    assert rows[-1].split() == ["epoch", "1", "5", "10", "15", "20", "25", "30"]
    assert {"50", "60", "70", "80", "90"} <= set(
        " ".join(r[:6] for r in rows).replace("┤", " ").split()
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
    empty = picture_of(chart_of(frame(curves=()), ChartChoice(focus="full")), 40, 10, BRAILLE)
    assert empty.changed_spans(Picture.blank(40, 10)) == []


def test_scales_and_durations():
    assert scale_for("bytes", [5 * 2.0**30]).value(2.0**30) == "1.0"
    assert scale_for("bytes", []).unit == "B"
    assert scale_for("1", [0.5]).value(0.5) == "0.500"
    assert scale_for("%", [1.0]).value(None) == scale_for("%", [1.0]).value(math.nan) == "-"
    assert scale_for("epochs", [math.inf]).value(math.inf) == "never"
    assert duration(-1) == "0.0 s"


def test_wrapping_keeps_every_word():
    lines = wrapped((Span("one two three "), Span("four five", "strong")), 9, 3)

    assert [plain(line).split() for line in lines] == [["one", "two"], ["three"], ["four", "five"]]
    assert wrapped((), 9, 3) == []
    assert len(wrapped((Span("a b c d e f"),), 3, 2)) == 2


def test_no_key_means_two_things_at_once():
    for scope in ("table", "curves"):
        keys = [key for row in KEYS if row.scope in (scope,) for key in row.keys]
        assert len(keys) == len(set(keys))
    everywhere = [key for row in KEYS if row.scope == "study" for key in row.keys]
    assert len(everywhere) == len(set(everywhere))
    inside = {key for row in KEYS if row.scope != "study" for key in row.keys}
    assert inside & set(everywhere) == set()


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
