"""Charts, Compare, Trial, Queue, SQL and Host: what they show and what their keys do."""

import threading
from dataclasses import replace

import psutil
import pytest

from icckd.results.items import ItemChange, ItemChanges
from icckd.results.sandbox import Fence
from icckd.results.trials import AnsweredRequest
from icckd_tui.app import FeedUpdate
from icckd_tui.feed import SqlRunner
from icckd_tui.filter import EVERYTHING
from icckd_tui.host import Host
from icckd_tui.metric_names import MetricFilter
from icckd_tui.screens.dialogs import Confirm, EventFeed, FilterPrompt
from icckd_tui.text import plain
from icckd_tui.widgets.table import GridTable
from tests.support import monitor as sample


def test_charts_show_a_grid_that_grows_and_shrinks(watch):
    async def scenario(it):
        await it.press("2")
        await it.until(lambda: "teacher.ce (nats)" in it.text())
        counts = []
        for _ in range(5):
            counts.append(sum(it.pane(f"chart{n}").display for n in range(1, 10)))
            await it.press("w")
        assert counts == [4, 6, 9, 1, 2]
        await it.press("d", "d")
        assert sum(it.pane(f"chart{n}").display for n in range(1, 10)) == 1

    reader = sample.FakeReader()
    reader.data["series"] = (*sample.SERIES, *(f"teacher.more{n}" for n in range(4)))
    watch(scenario, reader=reader)


def test_no_chart_shows_again_what_another_shows(watch):
    async def scenario(it):
        assert it.pane("curves").metric == "student.ce"
        assert not it.pane("second").display
        await it.press("2")
        await it.pilot.pause()
        assert [n for n in range(1, 10) if it.pane(f"chart{n}").display] == [1]
        await it.press("1")
        await it.bring(series=("student.ce", "teacher.ce"))
        assert it.pane("second").display
        await it.until(lambda: it.pane("second").metric == "teacher.ce")

    reader = sample.FakeReader()
    reader.data["series"] = ("student.ce",)
    watch(scenario, reader=reader)


def test_a_filter_of_names_decides_which_metrics_are_shown(watch):
    async def scenario(it):
        await it.press("M", *"teacher -lr", "enter")
        await it.until(lambda: it.pane("curves").metric == "teacher.val_top1")
        assert it.pane("second").metric == "teacher.ce"
        assert "metrics teacher -lr" in it.text()
        await it.press("right_square_bracket")
        await it.until(lambda: it.pane("curves").metric == "teacher.ce")
        await it.press("m")
        names = [row.key for row in it.app.screen.query_one("#names").table.rows]
        assert names == ["teacher.ce", "teacher.val_top1"]
        await it.press("escape", "M")
        await it.press(*"~(")
        assert "is not a regular expression" in it.text()

    watch(scenario)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", "student.ce student.val_top1 teacher.ce teacher.lr teacher.val_top1"),
        ("TEACHER -lr", "teacher.ce teacher.val_top1"),
        ("student ce | ~lr$", "student.ce teacher.lr"),
        ("*.ce", "student.ce teacher.ce"),
        ("nothing-like-it", "student.ce student.val_top1 teacher.ce teacher.lr teacher.val_top1"),
    ],
)
def test_a_filter_of_metrics_keeps_what_fits_and_never_nothing(text, kept):
    assert MetricFilter(text).kept(sample.SERIES) == tuple(kept.split())


def test_a_pinned_arm_is_drawn_on_top_whatever_is_in_focus(watch):
    async def scenario(it):
        await it.press("j", "j", "n", "G")
        assert it.app.state.choices.focus != "no-cache"
        lines = it.pane("curves").chart.lines
        assert lines[-1].name == "no-cache"
        assert not lines[-1].is_dim
        assert "D◆ no-cache" in it.text()
        await it.press("k", "k", "k", "n")
        assert not any(
            line.pinned for line in it.pane("curves").chart.lines if line.name != "no-cache"
        )

    watch(scenario)


def test_charts_share_x_until_each_has_its_own(watch):
    def shown(it):
        charts = (it.pane("chart1").chart, it.pane("chart2").chart)
        return [(c.x_low, c.x_high) for c in charts]

    async def scenario(it):
        await it.press("2")
        await it.until(lambda: it.pane("chart2").chart is not None)
        await it.press("plus")
        assert shown(it) == [(15.5, 30), (15.5, 30)]
        await it.press("u", "minus")
        assert shown(it) == [(1, 30), (15.5, 30)]
        await it.press("u")
        assert shown(it) == [(1, 30), (1, 30)]

    watch(scenario)


def test_the_values_at_the_cursor_stand_in_a_table(watch):
    async def scenario(it):
        await it.press("2")
        await it.until(lambda: it.pane("chart4").chart is not None)
        await it.press("v")
        await it.until(lambda: "Values epoch 30" in it.text())
        table = it.pane("values").table
        assert [c.key for c in table.columns][:3] == ["arm", "student.val_top1", "student.ce"]
        curve = next(c for c in sample.curves() if c.arm == "full")
        assert plain(table.rows[0].cells[1]).startswith(f"{curve.mean_E[-1]:.2f} ±")
        await it.press("v")
        assert not it.pane("values").display
        await it.press("left_square_bracket")  # two charts show the same metric
        await it.until(lambda: it.pane("chart1").metric == it.pane("chart2").metric)
        await it.press("v")
        columns = it.pane("values").table.columns
        assert [c.key for c in columns][1:3] == ["student.ce", "student.ce (2)"]
        assert columns[1].titles == columns[2].titles
        assert len({plain(row.cells[1]) for row in it.pane("values").table.rows}) > 1

    watch(scenario)


def test_marked_arms_are_drawn_and_compared_alone(watch):
    async def scenario(it):
        await it.press("j", "j", "space")
        assert it.app.state.choices.marked == {"no-cache"}
        await it.press("2")
        await it.until(lambda: it.pane("chart1").chart is not None)
        assert {line.name for line in it.pane("chart1").chart.lines} == {"full", "no-cache"}
        await it.press("3")
        await it.pilot.pause()
        assert [row.key for row in it.pane("comparison").table.rows] == ["full", "no-cache"]
        assert "D◆" in it.text()
        await it.press("space")
        assert len(it.pane("comparison").table.rows) == 7

    watch(scenario)


def test_compare_shows_verdicts_costs_and_settings(watch):
    async def scenario(it):
        await it.press("3")
        await it.pilot.pause()
        text = it.text()
        for words in ("Verdicts on student.top1", "the part helps", "against time of a trial",
                      "Settings that differ", "teacher.intra.weight", "0.017"):  # fmt: skip
            assert words in text
        await it.press("o")
        assert "against student.convergence" in it.text()
        await it.press("o")
        assert "against teacher.memory_rss" in it.text()
        await it.press("n")
        assert it.pane("settings").key == "teacher.intra.margin"

    watch(scenario)


def test_next_difference_goes_through_what_an_arm_changes(watch):
    async def scenario(it):
        it.app.state.choices.focus = "no-cache-matched"
        await it.press("3", "n")
        assert it.pane("settings").key == "teacher.intra.weight"
        it.screen.set_focus(it.pane("comparison"))
        await it.press("n")
        assert it.pane("settings").key == "teacher.intra.cache"

    watch(scenario)


def test_a_failed_trial_shows_why_with_its_traceback(watch):
    async def scenario(it):
        it.app.state.choices.trial = ("no-cache", 3)
        await it.press("4")
        await it.until(lambda: "no-cache s3 · failed" in it.text())
        text = it.text()
        for words in ("lower the rate", "Differs from the baseline", "machine-a", "torch"):
            assert words in text
        await it.press("b")
        assert "FloatingPointError" in it.text()
        assert "Traceback of the newest failure" in it.text()
        await it.press("b")
        assert "Log" in it.text()

    watch(scenario)


def test_brackets_go_through_trials_that_the_filter_lets_through(watch):
    async def scenario(it):
        await it.press("slash", *"state:failed", "enter")
        await it.until(lambda: it.frame.matching is not None)
        await it.press("4")
        seen = set()
        for _ in range(3):
            await it.press("right_square_bracket")
            await it.pilot.pause()
            seen.add(it.app.state.choices.trial)
        assert seen == {("no-cache", 3), ("no-margin", 4)}
        await it.press("left_square_bracket")
        assert it.app.state.choices.trial in seen

    watch(scenario)


def test_a_log_is_searched_and_filtered_by_level(watch):
    lines = tuple(
        sample.log_row(sample.NOW + n, level, "full", 0, f"line {n} {level}")
        for n, level in enumerate(("info", "warning", "info", "error", "info"))
    )
    reader = sample.FakeReader()
    reader.data["log"] = lines

    async def scenario(it):
        it.app.state.choices.trial = ("full", 0)
        await it.press("4")
        await it.until(lambda: "line 4 info" in it.text())
        await it.press("slash", *"info", "enter")
        assert "3 x info" in it.text()
        assert it.pane("lines").row == 4
        await it.press("N")
        assert it.pane("lines").row == 2
        await it.press("n", "n")
        assert it.pane("lines").row == 0
        await it.press("v")
        assert len(it.pane("lines").table.rows) == 2
        await it.press("v")
        assert "errors" in it.text()
        assert len(it.pane("lines").table.rows) == 1

    watch(scenario, reader=reader)


def test_the_process_of_a_running_trial_is_shown_with_what_it_uses(watch):
    running = next(row for row in sample.queue() if row.state == "running")
    process = sample.process(running.pid, gpu=3 * sample.GIB)

    async def scenario(it):
        it.app._feed._host = None
        it.app.state.choices.trial = running.trials[0]
        await it.press("4")
        await it.until(lambda: f"pid {running.pid} on " in it.text())
        host = Host(sample=sample.host_sample(), past=(), processes=((process,),))
        it.app.on_feed_update(FeedUpdate(host))
        await it.pilot.pause()
        assert f"pid {running.pid}: CPU 97 %, memory 717 MiB" in it.text()
        await it.press("7")
        await it.pilot.pause()
        text = it.text()
        assert "Training 6" in text
        assert "no risk seen" in text
        assert "3.0 GiB" in text

    watch(scenario, host=lambda: sample.host_sample())


def test_memory_that_may_run_out_is_said(watch):
    running = [row for row in sample.queue() if row.state == "running"]
    processes = tuple((sample.process(row.pid, memory=10**8),) for row in running)

    async def scenario(it):
        it.app._feed._host = None
        await it.press("7")
        await it.until(lambda: it.frame.queue)
        for used, words in ((23.0, "memory may run out"), (31.0, "memory will likely run out")):
            tight = sample.host_sample(memory_used=int(used * sample.GIB))
            it.app.on_feed_update(
                FeedUpdate(Host(sample=tight, past=(tight,), processes=processes))
            )
            await it.pilot.pause()
            assert words in it.text()

    watch(scenario, host=lambda: sample.host_sample())


def test_the_queue_has_the_plans_order_and_what_is_left(watch):
    async def scenario(it):
        await it.press("5")
        await it.until(lambda: "6 at work · ETA 14 min ± 4.7 s" in it.text())
        rows = it.pane("stages").table.rows
        assert len(rows) == 112
        assert plain(rows[0].cells[2]) == "teacher"
        assert "30s ±4.0s" in it.text()
        await it.press("enter")
        assert it.screen.NAME == "trial"

    watch(scenario)


def answered(kind, text, name="r1", time=sample.NOW):
    return AnsweredRequest(time=time, kind=kind, answer=text, name=name)


def test_requests_are_locked_then_sent_and_shown_until_the_session_answers(watch):
    sent = []

    def submit(asked):
        sent.append(asked)
        return f"r{len(sent)}"

    async def scenario(it):
        await it.press("5", "p")
        assert sent == []
        await it.press("W")
        assert "UNLOCKED" in it.text()
        await it.press("p")
        await it.until(lambda: "waiting for the session's answer" in it.text())
        assert sent[0].kind == "pause"
        answer = answered("pause", "nothing is started until resume")
        await it.bring(requests=(answer,), progress=sample.progress(paused=True))
        text = it.text()
        assert "nothing is started until resume" in text
        assert "waiting for the session" not in text
        assert "PAUSED" in text
        await it.press("p")
        await it.until(lambda: len(sent) == 2)
        await it.press("A")
        await it.until(lambda: len(sent) == 3)
        assert [(a.kind, a.count) for a in sent[1:]] == [("resume", 0), ("more-seeds", 2)]
        await it.press("W")
        assert "UNLOCKED" not in it.text()

    watch(scenario, submit=submit)


@pytest.mark.parametrize(("key", "kind"), [("X", "cancel"), ("D", "stop")])
def test_what_gives_up_work_asks_first(watch, key, kind):
    sent = []

    async def scenario(it):
        await it.press("W", key)
        assert isinstance(it.app.screen, Confirm)
        await it.press("enter")
        await it.press(key, "n")
        await it.press(key, "escape")
        assert sent == []
        await it.press(key, "y")
        await it.until(lambda: sent)
        assert sent[0].kind == kind
        if kind == "cancel":
            assert (sent[0].arm, sent[0].seed) == ("no-cache", 4)
        await it.press(key, "j", "enter")
        await it.until(lambda: len(sent) == 2)

    watch(scenario, submit=lambda asked: sent.append(asked) or f"r{len(sent)}")


def test_retry_is_about_the_trial_under_the_cursor(watch):
    sent = []

    async def scenario(it):
        it.pane("trials").select("no-margin\x004")
        await it.press("W", "R")
        await it.until(lambda: sent)
        assert (sent[0].kind, sent[0].arm, sent[0].seed) == ("retry", "no-margin", 4)

    watch(scenario, submit=lambda asked: sent.append(asked) or "r1")


def test_a_read_only_view_and_a_session_that_ended_ask_for_nothing(watch):
    async def scenario(it):
        await it.press("W", "p")
        assert not it.app.state.choices.unlocked
        assert "read-only" in it.text()

    watch(scenario)

    async def ended(it):
        await it.bring(progress=sample.progress("ended"))
        await it.press("W", "p")
        assert "no session is running" in it.text()

    watch(ended, submit=pytest.fail)


def test_a_request_that_cannot_be_written_is_told(watch):
    def submit(asked):
        raise OSError(28, "No space left on device")

    async def scenario(it):
        await it.press("W", "p")
        await it.until(lambda: "No space left on device" in it.text())

    watch(scenario, submit=submit)


def test_sql_asks_shows_and_remembers(watch):
    async def scenario(it):
        await it.press("6")
        await it.pilot.pause()
        assert "Arms by metric." in it.text()
        await it.press("s", *"from x", "enter")
        await it.until(lambda: "300 rows in" in it.text())
        assert "arm 0" in it.text()
        assert it.reader.asked[-1] == "from x"
        await it.press("tab", "s", *"z", "enter")
        await it.until(lambda: it.reader.asked[-1] == "from xz")
        await it.press("up", "up")
        assert it.pane("sql-input").value == "from x"
        await it.press("down", "down")
        assert it.pane("sql-input").value == ""
        await it.press("escape", "v")
        assert "Arms by metric." in it.text()
        await it.press("j", "enter")
        await it.until(lambda: it.reader.asked[-1] == "from trial limit 200")

    watch(scenario)


def test_a_wrong_statement_says_why_and_a_slow_one_is_stopped(watch):
    async def scenario(it):
        await it.press("6", "s", *"wrong", "enter")
        await it.until(lambda: "Parser Error: syntax error; views and tables" in it.text())
        await it.press("escape", "v", "s")
        it.pane("sql-input").value = "slow"
        await it.press("enter", "escape")
        assert "Asking, x stops it" in it.text()
        await it.press("x")
        await it.until(lambda: "Interrupted" in it.text())

    watch(scenario)


def test_a_newer_statement_stops_an_older_one(watch):
    async def scenario(it):
        await it.press("6", "s")
        it.pane("sql-input").value = "slow"
        await it.press("enter")
        await it.until(lambda: it.reader.asked[-1] == "slow")
        it.pane("sql-input").value = "from y"
        await it.press("enter")
        await it.until(lambda: "300 rows" in it.text())
        assert it.app.state.answer.number == 2

    watch(scenario)


def test_the_process_for_sql_that_starts_while_the_view_is_left_ends_too(tmp_path):
    asked, left, answered = threading.Event(), threading.Event(), threading.Event()

    def start():
        asked.set()
        assert left.wait(20)
        return Fence(tmp_path)

    runner = SqlRunner(start, lambda answer: answered.set())
    runner.run(1, "select 1")
    assert asked.wait(20)
    runner.close()
    left.set()

    assert answered.wait(20)
    running = [child.cmdline() for child in psutil.Process().children()]
    assert not [line for line in running if str(tmp_path) in line]


def test_the_filter_waits_in_the_history_as_sql(watch):
    async def scenario(it):
        await it.press("slash", *"seed<3", "enter", "6", "p")
        assert "coalesce(seed < 3.0, false)" in it.pane("sql-input").value

    watch(scenario)


def test_a_filter_is_checked_while_it_is_typed(watch):
    async def scenario(it):
        await it.press("slash")
        assert isinstance(it.app.screen, FilterPrompt)
        await it.press(*"sed<3")
        assert "no field 'sed'" in it.text()
        await it.press("enter")
        assert isinstance(it.app.screen, FilterPrompt)
        await it.press(*["backspace"] * 5, *"seed<1", "enter")
        await it.until(lambda: "Trials 7 of 56" in it.text())
        assert "filter seed<1" in it.text()
        await it.press("escape")
        await it.until(lambda: "Trials 7 of 56" not in it.text())
        await it.press("slash", "escape")
        assert it.app.screen is it.screen

    watch(scenario)


def test_a_filter_that_cannot_be_evaluated_is_told_and_dropped(watch):
    async def scenario(it):
        await it.press("slash", *'arm:"~(?=x)"', "enter")
        await it.until(lambda: "invalid perl operator" in it.text())
        await it.until(lambda: it.frame.request.filter == EVERYTHING)
        assert it.app.state.choices.filter == EVERYTHING
        assert len(it.frame.shown_trials) == 56

    watch(scenario)


@pytest.mark.slow
def test_a_filter_shows_its_arms_alone_on_every_screen(watch):
    async def scenario(it):
        await it.press("slash", *"no-cache", "enter")
        await it.until(lambda: it.frame.matching is not None)
        await it.press("3")
        rows = it.pane("comparison").table.rows
        assert [row.key for row in rows] == ["full", "no-cache", "no-cache-matched"]
        await it.press("5")
        await it.until(lambda: it.frame.queue)
        await it.until(lambda: len(it.pane("stages").table.rows) == 32)

    watch(scenario)


def test_the_event_feed_tells_and_goes_there(watch):
    async def scenario(it):
        rows = list(sample.trials())
        place = next(p for p, row in enumerate(rows) if row.state == "running")
        rows[place] = replace(rows[place], state="failed", reason="out of memory")
        await it.bring(trials=tuple(rows))
        assert "out of memory" in it.text()
        await it.press("i")
        assert isinstance(it.app.screen, EventFeed)
        assert f"{rows[place].arm} s{rows[place].seed}" in it.text()
        await it.press("enter")
        assert it.screen.NAME == "trial"
        assert it.app.state.choices.trial == (rows[place].arm, rows[place].seed)

    watch(scenario)


def test_compare_shows_the_items_that_changed_most_where_runs_tell_them(watch):
    change = ItemChange(item="q17", group="rivers", baseline=1.0, arm=0.0)
    told = ItemChanges(
        arm="no-cache", metric="student.top1", higher=2, lower=9, same=89, most=(change,),
        apart=(), regrouped=(),
    )  # fmt: skip

    async def scenario(it):
        await it.press("3")
        await it.until(lambda: "Settings that differ" in it.text())
        assert not it.pane("items").display
        await it.bring(items=(told,))
        await it.until(lambda: it.pane("items").display)
        await it.until(lambda: "q17" in it.text())
        assert "9 lower, 2 higher, 89 the same" in it.text()
        [row] = it.pane("items").table.rows
        assert [plain(cell) for cell in row.cells][1:] == ["q17", "rivers", "1", "0", "−1"]
        assert row.cells[-1][0].tone == "bad"

    watch(scenario)


def test_a_trial_stands_beside_its_pair_with_declared_outcomes_first(watch):
    async def scenario(it):
        it.app.state.choices.trial = ("no-margin", 2)
        await it.press("4")
        await it.until(lambda: "Declared outcomes" in it.text())
        text = it.text()
        line = next(line for line in text.splitlines() if "student.top1" in line)
        assert line.split("student.top1")[1].split()[:4] == ["91.50", "91.50", "+0.00", "%"]
        assert "full s2" in text
        assert text.index("Declared outcomes") < text.index("Attempts")
        assert "Other outcomes of the teacher" in text
        await it.press("M", *"stability", "enter")
        assert "student.top1  " not in it.text()

    reader = sample.FakeReader()
    study = reader.data["study"]
    reader.data["study"] = replace(study, metrics=study.metrics[:4])
    watch(scenario, reader=reader)


def test_a_failed_trial_shows_reason_and_what_helps_at_once(watch):
    async def scenario(it):
        told = " ".join(plain(line) for line in it.pane("decision")._lines)
        assert "✗ 2 failed (no-cache s3: loss term 'intra' is not finite" in " ".join(told.split())
        it.pane("trials").focus()
        for _ in range(6):
            await it.press("j")
        assert it.app.state.choices.trial == ("no-cache", 3)
        await it.until(lambda: "lower the rate" in it.text())
        await it.press("enter")
        await it.until(lambda: "what helps" in it.text())
        lines = it.text().splitlines()
        state, reason, helps = (
            next(n for n, line in enumerate(lines) if word in line)
            for word in (" state ", " reason ", " what helps ")
        )
        assert (
            state < reason < helps < next(n for n, line in enumerate(lines) if "Attempts" in line)
        )

    watch(scenario)


def test_help_starts_with_what_applies_here_and_can_be_searched(watch):
    def keys(it):
        return [
            plain(row.cells[0]).strip() for row in it.app.screen.query_one(GridTable).table.rows
        ]

    async def scenario(it):
        await it.press("question_mark")
        found = keys(it)
        assert found[1:5] == ["o", "O", "T", "a"]
        assert found.index("down j") < found.index("q ctrl-q ctrl-c")
        assert found.index(";") > found.index("undecided")  # this is no replay: not now
        await it.press("slash", *"smooth")
        assert keys(it) == ["s", "S"]
        await it.press("enter", "q")
        assert it.app.screen is it.screen

    watch(scenario)
