"""What is taken from the screens: files in several formats, the clipboard, the log in a pager."""

import csv
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from icckd_tui.export import csv_of, latex_of, markdown_of
from icckd_tui.screens.base import LONGEST_COPY
from icckd_tui.screens.dialogs import FormatMenu
from icckd_tui.tables import Column, Row, Table
from icckd_tui.text import Span
from tests.support import monitor as sample

HOSTILE = "=1+1 | a_b & 50 % [x](y) \\input{z}"
TABLE = Table(
    columns=(
        Column(key="arm", titles=("", "arm"), width=8),
        Column(key="plot", titles=("0",), width=8, drawn=True),
        Column(key="change", titles=("student.top1", "Δ"), width=8, right=True),
    ),
    rows=(
        Row(key="a", cells=((Span("A "), Span("full")), (Span("──●──"),), (Span("−0.50"),))),
        Row(key="b", cells=((Span(HOSTILE),), (Span("●"),), ())),
    ),
)


def test_a_table_is_written_in_each_format_and_its_text_is_harmless_there():
    assert list(csv.reader(csv_of(TABLE).splitlines())) == [
        ["arm", "student.top1 Δ"], ["A full", "-0.50"], ["'" + HOSTILE, ""],
    ]  # fmt: skip
    markdown = markdown_of(TABLE).splitlines()
    assert markdown[1] == "| --- | --- |"
    assert r"=1+1 \| a\_b & 50 % \[x\](y) \\input{z}" in markdown[3]
    latex = latex_of(TABLE)
    assert latex.startswith("\\begin{tabular}{lr}\n\\toprule\narm & student.top1 \\ensuremath")
    assert r"A full & \ensuremath{-}0.50 \\" in latex
    assert r"a\_b \& 50 \%" in latex
    assert r"\textbackslash{}input\{z\}" in latex


@pytest.mark.parametrize("kind", ["csv", "md", "tex"])
def test_e_asks_for_the_format_and_writes_the_table_whole(watch, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    key = {"csv": "c", "md": "m", "tex": "t"}[kind]

    async def scenario(it):
        it.pane("trials").focus()
        await it.press("e")
        assert isinstance(it.app.screen, FormatMenu)
        assert "Write icc-ablations-study-trials as" in it.text()
        await it.press("s")
        assert isinstance(it.app.screen, FormatMenu), "a table is no figure"
        await it.press(key)
        await it.until(lambda: len(list(Path().iterdir())) == 1)
        await it.until(lambda: f"icc-ablations-study-trials.{kind}" in it.text())
        await it.press("e", *["down"] * ["csv", "md", "tex"].index(kind), "enter")
        await it.until(lambda: len(list(Path().iterdir())) == 2)
        await it.press("e", "escape")
        assert it.app.screen is it.screen

    watch(scenario)
    text = Path(f"icc-ablations-study-trials.{kind}").read_text()
    assert len(text.splitlines()) >= 57
    assert "no-margin-matched" in text
    assert Path(f"icc-ablations-study-trials-2.{kind}").read_text() == text


def test_a_chart_is_written_as_a_figure_and_as_its_values(watch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stem = "icc-ablations-student.val_top1"

    async def scenario(it):
        it.pane("curves").focus()
        for key, kind in (("s", "svg"), ("p", "png"), ("c", "csv")):
            await it.press("e", key)
            await it.until(lambda kind=kind: f"{stem}.{kind}" in it.text())

    watch(scenario)
    svg = Path(f"{stem}.svg").read_text()
    assert ET.fromstring(svg).tag.endswith("svg")
    assert "no-margin-matched" in svg
    assert "student.val_top1 (%)" in svg
    assert Path(f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(Path(f"{stem}.csv").read_text().splitlines()))
    curve = sample.curves()[3]
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 31)]
    for title, values in (("mean", curve.mean_E), ("95 % low", curve.low_E)):
        shown = [float(row[f"no-cache {title}"]) for row in rows]
        assert shown == pytest.approx(values.tolist(), rel=1e-6)


def test_without_matplotlib_a_figure_is_refused_and_the_rest_goes_on(watch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "icckd.report.figures.plots", None)

    async def scenario(it):
        it.pane("curves").focus()
        await it.press("e", "s")
        await it.until(lambda: "pip install 'icckd[figures]'" in it.text())

    watch(scenario)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_written_is_told(watch, tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    async def scenario(it):
        await it.press("e", "enter")
        await it.until(lambda: "cannot do that" in it.text())

    watch(scenario)


def test_y_copies_the_pane_in_focus(watch):
    async def scenario(it):
        it.pane("trials").focus()
        await it.press("y")
        await it.until(lambda: "copied icc-ablations-study-trials as Markdown" in it.text())
        assert it.app.clipboard.startswith("| arm |")
        assert it.app.clipboard.count("\n") == 58
        it.pane("curves").focus()
        await it.press("y")
        await it.until(lambda: "student.val_top1 as CSV" in it.text())
        assert it.app.clipboard.startswith("epoch,full mean,full 95 % low")

    watch(scenario)


def test_what_is_too_long_for_the_clipboard_is_refused(watch):
    async def scenario(it):
        long = tuple(
            sample.log_row(float(place), "info", "full", 0, "x" * 400) for place in range(200)
        )
        await it.bring(log=long)
        it.pane("log").focus()
        await it.press("y")
        await it.until(lambda: "cannot do that: " in it.text())
        assert it.app.clipboard == ""

    watch(scenario)
    assert LONGEST_COPY < 200 * 400


def test_a_view_that_can_only_look_opens_no_pager(watch):
    async def scenario(it):
        await it.press("4")
        await it.until(lambda: it.frame.answers)
        await it.press("o")
        await it.until(lambda: "a read-only view starts no other program" in it.text())

    watch(scenario)


def test_a_terminal_that_cannot_be_left_is_told(watch):
    async def scenario(it):
        it.app.state.choices.trial = ("no-cache", 3)
        await it.press("4")
        await it.until(lambda: it.frame.answers)
        await it.press("o")
        await it.until(lambda: "this terminal cannot be left to another program" in it.text())

    watch(scenario, submit=lambda asked: "name")
