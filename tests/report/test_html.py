"""The report as a page: the answer first, charts of what it rests on, whole on every screen."""

import math
import re

import pytest

from icckd.report.charts import Axis, forest_chart
from icckd.report.document import build_document
from icckd.report.numbers import Scale
from icckd.report.words import changes_in_words, part_names, shortened
from icckd.study.paths import Change
from icckd.study.records import Arm
from tests.support.browser import in_browser, needs_browser
from tests.support.reports import report


def test_the_page_begins_with_the_question_and_shows_what_the_answer_rests_on(results):
    text = report(results, "html")
    order = [
        "<h1>What do margin and cache contribute?</h1>", "11 of 12 trials complete",
        "Paired differences from full", "student.top1 of every seed", "Learning curves",
        "Verdicts on", "<h2>Comparison", "What differs from full", "<h2>Incomplete",
        "<h2>Methods", "Threats to validity", "<h2>Notes",
    ]  # fmt: skip

    places = [text.index(words) for words in order]

    assert places == sorted(places)
    assert "title of no-margin: off" in text


def test_every_seed_is_a_point_and_every_shown_arm_a_curve(results):
    document = build_document(results, results.study())

    assert [(row.arm, len(row.points)) for row in document.points.rows] == [
        ("full", 3), ("no-margin", 3), ("no-margin-matched", 3), ("no-cache", 2),
    ]  # fmt: skip
    values = results.values(results.study(), "student.top1")["full"]
    assert document.points.rows[0].points[0].text == f"seed 0: {values[0]:.2f}"
    curves = {chart.metric: chart for chart in document.curves}
    assert set(curves) == {"student.val_top1", "teacher.val_top1"}
    assert [line.name.split(" ")[0] for line in curves["student.val_top1"].lines] == [
        "full", "no-margin", "no-cache",
    ]  # fmt: skip
    assert curves["student.val_top1"].left_out == 1
    assert all(line.band for line in curves["student.val_top1"].lines)


def test_a_forest_has_0_and_the_bounds_where_they_are(results):
    rows = [row for row in build_document(results, results.study()).forest.rows if row.low]
    chart = forest_chart(rows, Scale("%"), 0.5)

    for row, drawn in zip(rows, chart.rows, strict=True):
        assert drawn.low <= drawn.middle <= drawn.high
        assert (row.low > 0) == (drawn.low > chart.zero)
    assert chart.bound[0] < chart.zero < chart.bound[1]
    assert chart.zero - chart.bound[0] == pytest.approx(chart.bound[1] - chart.zero, abs=0.02)


@pytest.mark.parametrize("values", [[1.0], [], [math.inf, 2.0, -3.0], [1e-12, 2e-12], [-5e9, 1e9]])
def test_an_axis_holds_its_values_and_round_ticks(values):
    axis = Axis(values)

    assert all(0 <= axis.place(value) <= 100 for value in values if math.isfinite(value))
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks())
    assert len(axis.ticks()) <= 6


def arm(name, *changes, title="", action=""):
    return Arm(
        name=name, role="ablation", title=title, action=action, control_for=None,
        changes=tuple(Change(path=p, before=b, after=a) for p, b, a in changes),
    )  # fmt: skip


def test_parts_are_named_as_the_author_names_them():
    margin = arm("a", ("teacher.intra.margin", {"threshold": 0.5}, "off"),
                 title="Remove the margin filter", action="REMOVE")  # fmt: skip
    weight = arm("b", ("teacher.intra.weight", 1.0, 0.0), ("data.augment.flip", True, False))
    inner = arm("c", ("teacher.intra.margin.threshold", 0.5, 0.3))
    other = arm("d", ("student.distiller", "off", {"kind": "dkd", "alpha": 1.0, "beta": 8.0}))
    names = part_names((margin, weight, inner, other))

    assert [changes_in_words(each, names) for each in (margin, weight, inner, other)] == [
        ("the margin filter: off",),
        ("teacher intra weight: 1 → 0", "data augment flip: off"),
        ("the margin filter threshold: 0.5 → 0.3",),
        ("student distiller: dkd, alpha 1",),
    ]
    assert shortened("the margin filter of the teacher: off", 20) == "the margin fil…: off"


@pytest.mark.slow
@needs_browser
def test_a_phone_shows_the_page_without_scrolling_sideways_and_keeps_the_arms_in_sight(
    results, tmp_path
):
    page_file = tmp_path / "report.html"
    page_file.write_text(report(results, "html"))

    async def look(page):
        await page.ask("Emulation.setDeviceMetricsOverride", width=390, height=800,
                       deviceScaleFactor=1, mobile=True)  # fmt: skip
        await page.go(page_file.as_uri())
        await page.until("document.querySelector('h1') && document.readyState == 'complete'")
        wide = await page.value("document.scrollingElement.scrollWidth")
        await page.value("document.querySelector('.wide .scroll').scrollLeft = 300")
        left = await page.value(
            "document.querySelector('.wide tbody th').getBoundingClientRect().left"
        )
        letters = await page.value(
            "Math.min(...[...document.querySelectorAll('.ik-row > *, td, p')].map("
            "e => parseFloat(getComputedStyle(e).fontSize)))"
        )
        await page.ask("Emulation.setEmulatedMedia",
                       features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
        dark = await page.value("getComputedStyle(document.body).backgroundColor")
        return wide, left, letters, dark

    wide, left, letters, dark = in_browser(tmp_path / "profile", look)

    assert wide <= 390
    assert 0 <= left < 30
    assert letters >= 11
    assert sum(map(int, re.findall(r"\d+", dark))) < 150
