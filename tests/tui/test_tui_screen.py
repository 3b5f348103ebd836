import asyncio
import threading
from dataclasses import replace

import pytest

from icckd.errors import MachineError, UsageError
from icckd.journal.folder import StateFolder
from icckd_tui.app import WatchApp
from icckd_tui.data import Failed, Frame, Waiting
from icckd_tui.feed import POLL_SECONDS, Feed, Source, source_in
from icckd_tui.keys import keys_of
from icckd_tui.screens.dialogs import Help, Leaving, MetricPicker
from icckd_tui.screens.registry import SCREENS, number_keys
from icckd_tui.screens.study import StudyScreen
from icckd_tui.text import plain
from icckd_tui.theme import ASCII
from icckd_tui.widgets.chart import CurveChart
from icckd_tui.widgets.lines import LinesWidget
from icckd_tui.widgets.table import GridTable
from tests.support import monitor as sample
from tests.support.lanes import slow_but


def test_the_wide_screen_shows_every_pane(watch):
    async def scenario(it):
        text = it.text()
        for words in ("icc-ablations", "Matrix · Δ student.top1 (%)", "Comparison with full",
                      "student.val_top1 (%)", "student.ce (nats)", "Trials"):  # fmt: skip
            assert words in text
        assert "loss term 'intra' is not finite" in text
        assert "LIVE 0.3 s" in text
        assert "✗ failed" in text
        assert "q Quit" in text

    watch(scenario)


def test_at_80x24_tab_cycles_through_the_panes_matrix_and_differences_together(watch):
    async def scenario(it):
        seen = []
        for _ in StudyScreen.PANES:
            shown = [n for n in StudyScreen.PANES if it.pane(n).display]
            current = it.app.focused.id
            is_pair = current in ("matrix", "differences")
            assert shown == (["matrix", "differences"] if is_pair else [current])
            seen.append(current)
            assert f"{current} {len(seen)}/6" in it.text()
            await it.press("tab")
        assert seen == list(StudyScreen.PANES)
        await it.press("shift+tab")
        assert it.pane("log").display

    watch(scenario, size=(80, 24))


@pytest.mark.parametrize("size", [(59, 30), (100, 15)])
def test_a_terminal_too_small_gets_a_notice(watch, size):
    async def scenario(it):
        assert "icckd needs 60x16" in it.text()
        await it.pilot.resize_terminal(80, 24)
        await it.pilot.pause()
        assert "icckd needs" not in it.text()
        assert "margin filter" in it.text()

    watch(scenario, size=size)


@pytest.mark.slow
def test_the_smallest_size_works_on_every_screen(watch):
    async def scenario(it):
        for screen in "1234567":
            await it.press(screen)
            for _ in range(4):
                keys = ("tab", "escape") if screen == "6" else ("tab", "j", "z")
                await it.press(*keys)
                assert "icc-ablations" in it.text(), screen

    watch(scenario, size=(60, 16))


def test_the_matrix_has_a_row_for_what_was_varied(watch):
    async def scenario(it):
        text = it.text()
        assert "margin filter" in text  # as the study's author calls it
        assert "intra.weight" in text
        assert "threshol" in text
        assert "◌5/8" in text  # seeds so far
        assert "▨1" in text  # a seed failed
        assert "−0.90*" in text

    watch(scenario)


def test_the_cursor_of_the_matrix_targets_everything(watch):
    async def scenario(it):
        curves, differences = it.pane("curves"), it.pane("differences")
        assert curves.chart.lines[-1].name == "no-margin"
        await it.press("j", "j")
        assert it.app.state.choices.focus == "no-cache"
        assert curves.chart.lines[-1].name == "no-cache"
        assert it.pane("second").chart.lines[-1].name == "no-cache"
        assert differences.key == "no-cache"
        assert "helps" in it.text()
        await it.press("tab", "j", "j")
        assert it.app.state.choices.focus == "plain-kd"
        assert it.pane("matrix").key == "intra.weight"
        await it.press("tab", "k", "k", "up", "down")
        assert curves.chart.lines[-1].name == "no-cache"

    watch(scenario)


def test_o_steps_through_the_outcomes_of_matrix_and_differences(watch):
    async def scenario(it):
        await it.press("o")
        assert "Matrix · Δ teacher.top1 (%)" in it.text()
        await it.press("O", "O")
        assert "Matrix · Δ teacher.memory_rss (bytes)" in it.text()

    watch(scenario)


def test_rows_and_columns_follow_the_keys(watch):
    async def scenario(it):
        await it.press("3", "g")
        table = it.pane("comparison")
        await it.press("j")
        assert table.key == "no-margin"
        await it.press("down", "k", "up", "k")
        assert table.key == "full"
        await it.press("G")
        assert table.key == "single-view"
        await it.press("g", "end", "home")
        assert table.key == "full"
        await it.press("l", "right", "l")
        assert table.column_key == "teacher.stability"
        assert "teacher.stability" in it.text()
        await it.press("h", "left", "h", "h")
        assert table.column_key == "student.top1"

    watch(scenario)


def test_pages_move_by_what_is_in_view(watch):
    async def scenario(it):
        trials = it.pane("trials")
        trials.focus()
        await it.pilot.pause()
        page = trials.shown_rows
        await it.press("pagedown")
        assert trials.row == page
        await it.press("pagedown", "pageup", "pageup")
        assert trials.row == 0
        assert f"1-{page} of 56" in it.text()

    watch(scenario)


def test_t_sorts_by_a_column_up_down_and_as_planned(watch):
    async def scenario(it):
        trials = it.pane("trials")
        trials.focus()
        await it.press(*["l"] * 3)
        assert trials.column_key == "Δ"
        planned = [row.key for row in trials.table.rows]
        await it.press("t")
        first = [plain(row.cells[5]).strip() for row in trials.table.rows][:3]
        assert first == ["−2.90", "−2.87", "−2.84"]
        assert "▲ Δ" in it.text()
        await it.bring(progress=sample.progress("ended"))
        assert plain(trials.table.rows[0].cells[5]).strip() == "−2.90"
        await it.press("t")
        assert plain(trials.table.rows[0].cells[5]).strip() == "−0.68"
        await it.press("t")
        assert [row.key for row in trials.table.rows] == planned

    watch(scenario)


def test_enter_shows_the_curves_of_an_arm(watch):
    async def scenario(it):
        await it.press("G", "enter")
        assert it.pane("curves").display
        assert it.pane("curves").chart.lines[-1].name == "single-view"

    watch(scenario, size=(80, 24))


def test_enter_opens_a_trial(watch):
    async def scenario(it):
        it.pane("trials").focus()
        await it.press("j", "enter")
        assert it.screen.NAME == "trial"
        await it.until(lambda: "no-cache-matched s4 · running" in it.text())
        await it.press("escape")
        assert it.screen.NAME == "study"

    watch(scenario)


def test_seeds_axes_and_smoothing_are_switched_by_keys(watch):
    async def scenario(it):
        assert "mean ± 95 %" in it.text()
        await it.press("c", "s", "s")
        assert "each seed · smoothed 0.8" in it.text()
        await it.press("c", "S", "S")
        assert "mean ± 95 % and each seed" in it.text()
        it.pane("curves").focus()
        await it.press("l", "L")
        assert "log x y" in it.text()
        await it.press("l", "L", "c", "x")
        assert "step" in it.text()
        await it.press("x")
        await it.until(lambda: it.pane("curves").chart.x_unit == "s")
        await it.press("x")
        assert it.pane("curves").chart.x_unit == "%"
        await it.press("x")
        assert it.pane("curves").chart.x_unit == "epoch"

    reader = sample.FakeReader()
    reader.data["series"] = (*sample.SERIES, "student.train_seconds")
    watch(scenario, reader=reader)


def test_zoom_and_pan_move_the_shown_part_of_x(watch):
    def shown(it):
        chart = it.pane("curves").chart
        return chart.x_low, chart.x_high

    async def scenario(it):
        assert shown(it) == (1, 30)
        await it.press("plus")
        assert shown(it) == (15.5, 30)
        assert "50 % of x" in it.text()
        await it.press("less_than_sign")
        assert shown(it) == (11.875, 26.375)
        await it.press("greater_than_sign", "greater_than_sign")
        assert shown(it) == (15.5, 30)
        await it.press("minus")
        assert shown(it) == (1, 30)
        await it.press("equals_sign", "0")
        assert shown(it) == (1, 30)
        assert it.pane("second").chart.x_high == 30

    watch(scenario)


def test_the_value_cursor_moves_and_reads(watch):
    async def scenario(it):
        it.pane("curves").focus()
        await it.press("v")
        assert "epoch 30" in it.text()
        await it.press("left", "left")
        assert "epoch 29" in it.text()
        await it.press("right", "v")
        assert "epoch 29" not in it.text()

    watch(scenario)


def test_a_click_points_and_the_wheel_zooms(watch):
    async def scenario(it):
        await it.pilot.click("#curves", offset=(40, 6))
        await it.pilot.pause()
        assert it.pane("curves").chart.cursor is not None
        it.pane("curves").post_message(CurveChart.Zoomed(1))
        await it.pilot.pause()
        chart = it.pane("curves").chart
        assert chart.x_high - chart.x_low == pytest.approx(14.5)

    watch(scenario)


def test_brackets_step_through_the_metrics_and_around(watch):
    async def scenario(it):
        it.pane("curves").focus()
        await it.press("right_square_bracket")
        await it.until(lambda: "teacher.ce (nats)" in it.text())
        await it.press("left_square_bracket", "left_square_bracket")
        await it.until(lambda: it.pane("curves").metric == "student.ce")
        await it.press("left_square_bracket")
        await it.until(lambda: it.pane("curves").metric == "teacher.val_top1")

    watch(scenario)


def test_the_picker_filters_and_chooses(watch):
    async def scenario(it):
        await it.press("m")
        assert isinstance(it.app.screen, MetricPicker)
        assert "cross-entropy on the training batches" in it.text()
        await it.press(*"tce")
        await it.press("enter")
        await it.until(lambda: it.pane("curves").metric == "teacher.ce")
        assert "teacher.ce" in it.reader.asked
        await it.press("m", "down", "enter")
        await it.until(lambda: it.pane("curves").metric == "teacher.lr")
        await it.press("m", *"qqq", "enter")
        assert isinstance(it.app.screen, MetricPicker)
        await it.press("escape")
        assert it.app.screen is it.screen
        assert "teacher.lr" in it.text()

    watch(scenario)


def test_z_shows_the_pane_alone_and_all_again(watch):
    async def scenario(it):
        it.pane("curves").focus()
        await it.press("z")
        assert it.pane("curves").display
        assert not it.pane("log").display
        assert it.pane("curves").size.width > 150
        await it.press("z")
        assert it.pane("log").display
        await it.press("z", "escape")
        assert it.pane("log").display

    watch(scenario)


@pytest.mark.slow
def test_help_lists_every_key_of_the_screen(watch):
    async def scenario(it):
        for screen in SCREENS:
            it.app.open(screen)
            await it.pilot.pause()
            await it.press("escape") if screen == "sql" else None
            it.app.open(screen)
            await it.pilot.pause()
            await it.press("question_mark")
            assert isinstance(it.app.screen, Help), screen
            text = it.text()
            listed = (*number_keys(), *keys_of(SCREENS[screen].load()), *keys_of(GridTable))
            assert [key for key in listed if key.description[:40] not in text] == [], screen
            await it.press("question_mark")
            assert it.app.screen is it.screen
            await it.press("f1", "q")
            assert it.app.screen is it.screen

    watch(scenario, size=(160, 110))


def test_the_log_follows_until_it_is_moved_and_again_on_f(watch):
    async def scenario(it):
        log = it.pane("log")
        newer = (*sample.log(), sample.log_row(sample.NOW + 1, "info", "full", 0, "newest line"))
        await it.bring(log=newer)
        assert "newest line" in it.text()
        await it.press("shift+tab", "k", "k")
        assert "paused, f follows" in it.text()
        at = log.key
        await it.bring(log=(*newer, sample.log_row(sample.NOW + 2, "info", "full", 0, "newer")))
        assert log.key == at
        await it.press("f")
        assert log.follow
        assert log._row == len(log.table.rows) - 1
        assert "paused" not in it.text()

    watch(scenario)


def test_focus_and_cursor_stay_when_news_arrive(watch):
    async def scenario(it):
        it.pane("trials").focus()
        await it.press("j", "j")
        focused, key = it.app.focused, it.pane("trials").key
        rows = list(sample.trials())
        rows[0] = replace(rows[0], state="running")
        await it.bring(trials=tuple(rows))
        assert it.app.focused is focused
        assert it.pane("trials").key == key
        assert it.pane("trials")._row == 3
        assert it.pane("matrix").key == "margin filter"

    watch(scenario)


@pytest.mark.parametrize("key", ["q", "ctrl+q", "ctrl+c"])
def test_watching_ends_at_once(watch, key):
    async def scenario(it):
        await it.press(key)

    assert watch(scenario).app.return_value == "go-on"


@pytest.mark.parametrize(
    ("keys", "answer", "stops"),
    [
        (["g"], "go-on", 0),
        (["enter"], "go-on", 0),
        (["s"], "stop", 1),
        (["j", "enter"], "stop", 1),
    ],
)
def test_leaving_a_session_of_ones_own_asks(watch, keys, answer, stops):
    asked = []

    async def scenario(it):
        await it.press("q")
        assert isinstance(it.app.screen, Leaving)
        for words in ("Keep it going", "Stop it", "Stay"):
            assert words in it.text()
        await it.press(*keys)

    done = watch(scenario, request_stop=lambda: asked.append(1))
    assert done.app.return_value == answer
    assert len(asked) == stops


def test_staying_changes_nothing(watch):
    asked = []

    async def scenario(it):
        for keys in (["escape"], ["q"], ["G", "enter"]):
            await it.press("ctrl+c", *keys)
            assert it.app.screen is it.screen, keys
            assert it.app.is_running

    assert watch(scenario, request_stop=lambda: asked.append(1)).app.return_value is None
    assert asked == []


def test_a_session_that_ended_is_left_without_a_question(watch):
    async def scenario(it):
        await it.bring(progress=sample.progress("ended"))
        assert "ENDED" in it.text()
        await it.press("q")

    assert watch(scenario, request_stop=pytest.fail).app.return_value == "go-on"


def test_before_the_first_session_it_waits(watch):
    there = threading.Event()

    async def scenario(it):
        await it.until(lambda: "Waiting: no study here yet" in it.text())
        await it.press("tab", "j", "m", "c", "right_square_bracket", "f", "enter")
        there.set()
        it.app._feed._wake.set()
        await it.until(lambda: "Comparison with full" in it.text())

    watch(scenario, ready=there.is_set, frame=False)


def test_an_unknown_study_is_waited_for(watch):
    class Empty(sample.FakeReader):
        def study(self, name):
            raise UsageError(f"no study {name!r}", hint="studies: a, b")

    async def scenario(it):
        await it.until(lambda: "no study 'x'; studies: a, b" in it.text())

    watch(scenario, reader=Empty(), study="x", frame=False)


def test_an_error_is_shown_and_reading_goes_on(watch):
    async def scenario(it):
        it.app._feed._retry_seconds = 0.01
        it.reader.error = MachineError("the disk [bold]is[/bold] gone", hint="put it back")
        it.app._feed._wake.set()
        await it.until(lambda: "the disk [bold]is[/bold] gone; put it back" in it.text())
        assert "no-margin" in it.text()
        it.reader.error = None
        await it.until(lambda: "gone" not in it.text())

    watch(scenario)


HOSTILE = "[bold]x[/bold] [/bad]\x1b]0;title\x07\x1b[31m\u202e[@click=app.quit]y[/]"


def test_hostile_names_are_shown_as_they_are(watch):
    arms = ((HOSTILE, *sample.ARMS[0][1:]), ("b" + HOSTILE, *sample.ARMS[1][1:]), *sample.ARMS[2:])
    reader = sample.FakeReader(arms)
    reader.data["study"] = replace(
        reader.data["study"], name=HOSTILE, primary=HOSTILE, metrics=(HOSTILE, "student.top1")
    )
    reader.data["series"] = (HOSTILE, *sample.SERIES)
    reader.data["log"] = (sample.log_row(0.0, "info", HOSTILE, 1, HOSTILE),)

    async def scenario(it):
        for key in ("m", "escape", "2", "3", "4", "5", "7", "1", "i", "escape"):
            await it.press(key)
            await it.pilot.pause()
            text = it.text()
            assert "x[/bold]" in text or key == "7"
            assert not set("\x1b\x07\u202e") & set(text)

    watch(scenario, reader=reader)


@pytest.mark.parametrize("size", [(160, 45), (80, 24)])
def test_without_color_everything_still_works(watch, monkeypatch, size):
    monkeypatch.setenv("NO_COLOR", "1")

    async def scenario(it):
        assert it.app.no_color
        for key in ("tab", "c", "j", "tab", "j", "tab", "question_mark", "escape", "m", "escape"):
            await it.press(key)
        assert "icc-ablations" in it.text()

    watch(scenario, size=size)


def test_every_segment_has_a_style(watch):
    async def scenario(it):
        for widget in it.screen.query(LinesWidget):
            for y in range(widget.size.height):
                assert all(segment.style is not None for segment in widget.render_line(y))

    watch(scenario)


def test_ascii_glyphs_leave_nothing_else_on_the_screen(watch):
    async def scenario(it):
        assert it.text().isascii()
        await it.press("question_mark")
        assert it.text().isascii()

    watch(scenario, glyphs=ASCII)


@pytest.mark.parametrize(
    "theme", slow_but(["icckd-light", "ansi-dark", "ansi-light", "nord"], "nord", "ansi-dark")
)
def test_other_themes_work(watch, theme):
    async def scenario(it):
        it.app.theme = theme
        await it.press("tab", "c", "m", "escape")
        assert "icc-ablations" in it.text()

    watch(scenario)


def painted(it):
    """Count the cells that widgets ask to have painted from now on."""
    cells = []
    for widget in it.screen.query(LinesWidget):

        def counting(*regions, _widget=widget, _refresh=widget.refresh, **options):
            cells.append(sum(r.area for r in regions) if regions else _widget.size.area)
            return _refresh(*regions, **options)

        widget.refresh = counting
    return cells


def test_nothing_is_painted_when_nothing_changed(watch):
    async def scenario(it):
        cells = painted(it)
        await it.bring()
        await it.bring()
        it.pane("bar").repaint()
        await asyncio.sleep(0.05)
        await it.pilot.pause()
        assert cells == []

    watch(scenario)


def test_a_grown_curve_paints_a_small_part_of_the_chart(watch):
    reader = sample.FakeReader()
    reader.epochs = 20

    async def scenario(it):
        cells = painted(it)
        reader.epochs = 21
        await it.bring()
        await it.pilot.pause()
        charts = it.pane("curves").size.area + it.pane("second").size.area
        assert 0 < sum(cells) < charts / 4

    watch(scenario, reader=reader)


def test_hidden_panes_are_not_filled(watch):
    async def scenario(it):
        shown = it.pane("log").table
        await it.bring(log=sample.log(3))
        assert it.pane("log").table is shown
        await it.press("shift+tab")
        await it.pilot.pause()
        assert len(it.pane("log").table.rows) == 4

    watch(scenario, size=(80, 24))


def test_the_feed_stops_at_once_and_closes_its_reader():
    closed, news = [], []

    class Closing(sample.FakeReader):
        def __exit__(self, *_):
            closed.append(True)

    feed = Feed(Closing().source(), None, news.append, poll_seconds=60)
    feed.start()
    while not news:
        threading.Event().wait(0.005)
    feed.stop()

    assert not feed._thread.is_alive()
    assert closed == [True]
    assert isinstance(news[0], Frame)


def test_the_feed_opens_again_after_an_error():
    news, opened, done = [], [], threading.Event()

    def open_reader():
        opened.append(True)
        if len(opened) == 1:
            raise OSError("locked")
        return sample.FakeReader()

    def post(item):
        news.append(item)
        if isinstance(item, Frame):
            done.set()

    source = Source(ready=lambda: True, open=open_reader)
    feed = Feed(source, None, post, poll_seconds=0.01, retry_seconds=0.01)
    feed.start()
    assert done.wait(5)
    feed.stop()

    assert news[0] == Failed("OSError: locked")


@pytest.mark.parametrize("cost", [0.001, 0.2, 3.0])
def test_reading_takes_five_hundredths_of_a_core_whatever_one_reading_costs(cost):
    used, slept = [0.0], []

    class Costly(sample.FakeReader):
        def refresh(self):
            used[0] += cost if slept else 100.0  # the first reading imports, too
            return True

    feed = Feed(Costly().source(), None, lambda update: None, cpu_clock=lambda: used[0])

    def sleep(seconds):
        slept.append(seconds)
        feed._stopping = len(slept) == 10

    feed._sleep = sleep
    feed._read(Costly())

    assert slept[0] == POLL_SECONDS
    assert slept[1:] == pytest.approx([max(POLL_SECONDS, cost / 0.05)] * 9)


def test_the_feed_waits_for_a_folder():
    news = []
    feed = Feed(Source(lambda: False, pytest.fail), None, news.append, poll_seconds=0.01)
    feed.start()
    while not news:
        threading.Event().wait(0.005)
    feed.stop()

    assert set(news) == {Waiting("no study here yet")}


def test_every_command_is_in_the_palette(watch):
    async def scenario(it):
        titles = [command.title for command in it.app.get_system_commands(it.screen)]
        assert {"Pick the metric", "Charts", "Theme"} <= set(titles)

    watch(scenario)


def test_the_app_survives_a_theme_from_the_environment(monkeypatch):
    monkeypatch.setenv("TEXTUAL_THEME", "textual-light")

    assert WatchApp(sample.FakeReader().source(), None).theme == "textual-light"


def test_the_real_reader_waits_for_a_study_and_looking_creates_nothing(tmp_path):
    folder, news, told = StateFolder(tmp_path / "state"), [], threading.Event()

    def post(item):
        news.append(item)
        if isinstance(item, Waiting) and item.reason != "no study here yet":
            told.set()

    feed = Feed(source_in(folder), None, post, poll_seconds=0.01)
    feed.start()
    while not news:
        threading.Event().wait(0.005)
    assert not folder.root.exists()
    folder.create()

    assert told.wait(10)
    feed.stop()
    assert not any(isinstance(item, Failed) for item in news)
