"""What a reading costs, counted: charts drawn, tables laid out, cells and bytes sent."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from textual._compositor import Compositor
from textual.strip import Strip

from icckd_tui.text import Span, joined, plain, width_of
from icckd_tui.widgets import plot
from icckd_tui.widgets.lines import changed_cells
from icckd_tui.widgets.table import GridTable
from tests.support import monitor as sample

TERMINAL = Console(color_system="truecolor", force_terminal=True, width=160)
TEXTS = st.text(st.sampled_from("ab 3▶●界"), max_size=6)
SPANS = st.builds(Span, TEXTS, st.sampled_from(["", "muted", "good"]),
                  st.sampled_from(["", "cursor"]))  # fmt: skip
LINES = st.lists(SPANS, max_size=6).map(tuple)


@pytest.fixture
def updates(monkeypatch):
    """Return the partial updates that the terminal gets from now on."""
    found, render = [], Compositor.render_partial_update

    def recorded(self):
        update = render(self)
        if update is not None:
            found.append(update)
        return update

    monkeypatch.setattr(Compositor, "render_partial_update", recorded)
    return found


def size_of(updates):
    return sum(len(update.render_segments(TERMINAL).encode()) for update in updates)


def cells_of(spans):
    """Return tone and ground of each cell; a blank shows no tone."""
    return [
        (char, span.ground, "" if char == " " else span.tone)
        for span in spans for char in span.text
        for char in (char, *(["+"] if width_of((Span(char),)) == 2 else []))
    ]  # fmt: skip


async def next_epoch(it):
    """Bring a reading in which every running trial went on by an epoch."""
    it.reader.epochs += 1
    moved = tuple(
        replace(row, difference=row.difference + 0.01) if row.difference is not None else row
        for row in it.frame.comparisons
    )
    trials = tuple(
        replace(row, epoch=row.epoch + 1, seconds=row.seconds + 1)
        if row.state == "running" else row
        for row in it.frame.trials
    )  # fmt: skip
    await it.bring(comparisons=moved, trials=trials)
    await asyncio.sleep(0.05)
    await it.pilot.pause()


def test_a_reading_draws_each_visible_chart_and_lays_out_each_table_once(watch, monkeypatch):
    drawn, laid_out = [], Counter()
    picture_of, repaint = plot.picture_of, GridTable.repaint
    monkeypatch.setattr(plot, "picture_of", lambda *a, **k: drawn.append(1) or picture_of(*a, **k))

    def counted(self):
        laid_out[self.id] += 1
        repaint(self)

    monkeypatch.setattr(GridTable, "repaint", counted)

    async def scenario(it):
        drawn.clear()
        laid_out.clear()
        await next_epoch(it)
        assert len(drawn) == 2
        assert laid_out == {"matrix": 1, "differences": 1, "trials": 1}

    watch(scenario)


def test_a_reading_on_a_small_terminal_fills_what_is_shown_alone(watch, monkeypatch):
    laid_out, repaint = Counter(), GridTable.repaint

    def counted(self):
        laid_out[self.id] += 1
        repaint(self)

    monkeypatch.setattr(GridTable, "repaint", counted)

    async def scenario(it):
        laid_out.clear()
        await next_epoch(it)
        assert laid_out == {"matrix": 1, "differences": 1}

    watch(scenario, size=(80, 24))


def test_a_reading_sends_the_terminal_few_bytes(watch, updates):
    reader = sample.FakeReader()
    reader.epochs = 20

    async def scenario(it):
        sizes = []
        for _ in range(5):
            updates.clear()
            await next_epoch(it)
            sizes.append(size_of(updates))
        assert 0 < max(sizes) <= 20_000, sizes  # 80 kB/s at 4 Hz

    watch(scenario, reader=reader)


def test_another_arm_in_focus_sends_less_than_a_third_of_a_screen(watch, updates):
    async def scenario(it):
        whole = len(Strip.join(it.screen._compositor.render_strips()).render(TERMINAL).encode())
        sizes = []
        for key in ("j", "k", "j", "k"):  # a reading that falls in between is drawn, too
            updates.clear()
            await it.press(key)
            await asyncio.sleep(0.05)
            await it.pilot.pause()
            sizes.append(size_of(updates))
        assert 0 < min(sizes) < whole / 3

    watch(scenario)


@pytest.mark.slow
def test_what_the_terminal_gets_in_parts_adds_up_to_the_screen(watch, updates):
    def seen(char, style):  # a blank shows its ground alone
        return (char, style.bgcolor, style.reverse, *([style.color, style.bold] * (char != " ")))

    def grid_of(strips):
        return [[seen(char, s.style) for s in strip for char in s.text] for strip in strips]

    async def scenario(it):
        for keys in ("j", "jj", "v", "s", "c", "t", "\t", "k", "o"):
            grid = grid_of(it.screen._compositor.render_strips())
            updates.clear()
            await it.press(*("tab" if key == "\t" else key for key in keys))
            await next_epoch(it)
            for update in updates:
                for y, first, last in update.spans:
                    for end, (x, strip) in zip(
                        update.chop_ends[y], update.chops[y].items(), strict=False
                    ):
                        start, stop = max(x, first), min(end, last)
                        if strip is not None and start < stop:
                            grid[y][start:stop] = grid_of([strip])[0][start - x : stop - x]
            assert grid == grid_of(it.screen._compositor.render_strips())

    watch(scenario)


@given(LINES, LINES)
def test_the_parts_of_a_line_that_are_painted_make_the_new_line(before, after):
    width = 40
    old = [*cells_of(before), *([(" ", "", "")] * width)][:width]
    new = [*cells_of(after), *([(" ", "", "")] * width)][:width]

    for start, end in changed_cells(before, after, width):
        old[start:end] = new[start:end]

    assert old == new


def test_of_numbers_in_a_row_only_the_digits_that_changed_are_painted():
    def row(epoch, value):
        return (
            Span(" A full   "),
            Span(f"epoch {epoch}/300", "muted"),
            Span(" " * 20),
            Span(value),
        )

    assert changed_cells(row(101, "91.20"), row(102, "91.23"), 60) == [(18, 19), (47, 48)]


@given(LINES)
def test_joined_spans_look_the_same(spans):
    found = joined(spans)

    assert cells_of(found) == cells_of(spans)
    assert plain(found) == plain(spans)
    assert len(found) <= len(spans)
