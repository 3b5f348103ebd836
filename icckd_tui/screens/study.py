"""The study screen: what each part does, curves, the trials, the log and the machine."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from icckd_tui.comparison import comparison_detail, forest_table, forest_title
from icckd_tui.data import Frame, Query
from icckd_tui.decision import DECIDE_KEY, seeds_advised
from icckd_tui.failure import Failure, FailureQuery, row_of
from icckd_tui.groups import Group, grouped, groupings
from icckd_tui.host import host_rows
from icckd_tui.keys import Key
from icckd_tui.log import log_table, places_of
from icckd_tui.matrix import grid_of, matrix_table, matrix_title
from icckd_tui.screens.control import ControlScreen
from icckd_tui.screens.curves import CurveScreen
from icckd_tui.screens.dialogs import Picker
from icckd_tui.state import AppState
from icckd_tui.tables import HEAD, Column, LazyRows, Table
from icckd_tui.text import (
    Scale,
    Span,
    Spans,
    arm_letter,
    arm_tone,
    display,
    scale_for,
    short_duration,
)
from icckd_tui.theme import Glyphs
from icckd_tui.views import SavedView, text_of
from icckd_tui.widgets.bars import AnswerView, HostView
from icckd_tui.widgets.chart import CurveChart
from icckd_tui.widgets.table import GridTable

if TYPE_CHECKING:
    from icckd.results.types import LogEntry, TrialStatus


_FIRST = ("running", "failed", "blocked", "pending", "cancelled", "complete")
_PAIR = ("matrix", "differences")  # together on a terminal that is too small for all panes
_PAIR_FROM = 20  # rows
_ARM_WIDTH = 24
_REASON_WIDTH = 60


def trial_key(row: TrialStatus) -> str:
    """Return the key of a trial's row."""
    return f"{row.arm}\0{row.seed}"


def trial_of(key: str | None) -> tuple[str, int] | None:
    """Return arm and seed of a row's key."""
    if key is None or key.startswith(HEAD):
        return None
    arm, _, seed = key.rpartition("\0")
    return arm, int(seed)


def trial_table(
    frame: Frame, rows: Sequence[TrialStatus], glyphs: Glyphs, group: str = ""
) -> Table:
    """Return trials: running ones first, then failed, then the rest in the plan's order.

    In groups, a line above each tells its value, how many are complete, and their means.

    Rows are made when they are drawn, and widths follow from the study, so that ten thousand
    trials cost little more than the few that are in view.
    """
    ordered = _ordered(rows)
    items: list[TrialStatus | Group] = [*ordered]
    if group:
        parts = grouped(frame.study, ordered, group)
        items = []
        for head, members in parts:
            items += [head, *members]
    unit = frame.study.metric(frame.study.primary).unit
    scale = scale_for(unit, (row.primary for row in rows))
    places = {arm.name: place for place, arm in enumerate(frame.study.arms)}

    def cells(row: TrialStatus | Group) -> tuple[Spans, ...]:
        if isinstance(row, Group):
            return _group_cells(row, scale, glyphs)
        place = places.get(row.arm, 0)
        return (
            (Span(f"{arm_letter(place)} ", arm_tone(place)), Span(display(row.arm, _ARM_WIDTH))),
            (Span(str(row.seed)),),
            (Span(f"{glyphs.states[row.state]} {row.state}", row.state),),
            (Span(_stage(row), "muted"),),
            _number(row.primary, glyphs.signed(scale.value(row.primary))),
            _number(row.difference, glyphs.signed(scale.difference(row.difference))),
            _number(row.seconds or None, short_duration(row.seconds)),
            (Span(display(row.reason, _REASON_WIDTH), row.state),),
        )

    lost = any(map(attrgetter("reason"), rows))
    return Table(
        columns=_trial_columns(frame, rows, glyphs, lost),
        rows=LazyRows(items, _key, cells, (scale, tuple(places), glyphs.ascii, group)),
        frozen=2,
    )


def _key(row: TrialStatus | Group) -> str:
    return f"{HEAD}{row.value}" if isinstance(row, Group) else trial_key(row)


def _group_cells(group: Group, scale: Scale, glyphs: Glyphs) -> tuple[Spans, ...]:
    return (
        (Span(display(group.value, _ARM_WIDTH + 2) or "-", "key"),),
        (Span(str(group.count), "strong"),),
        (Span(f"{group.complete} complete", "muted"),),
        (),
        (Span("" if group.primary is None else scale.value(group.primary), "strong"),),
        (Span("" if group.difference is None
              else glyphs.signed(scale.difference(group.difference)), "strong"),),
        (),
        (),
    )  # fmt: skip


def _ordered(rows: Sequence[TrialStatus]) -> list[TrialStatus]:
    groups: dict[str, list[TrialStatus]] = {state: [] for state in _FIRST}
    into = {state: group.append for state, group in groups.items()}
    for row in rows:
        into[row.state](row)
    return [row for state in _FIRST for row in groups[state]]


def _trial_columns(
    frame: Frame, rows: Sequence[TrialStatus], glyphs: Glyphs, lost: bool
) -> tuple[Column, ...]:
    names = max((len(display(arm.name, _ARM_WIDTH)) for arm in frame.study.arms), default=3)
    seeds = max((len(str(seed)) for seed in frame.study.seeds), default=1)
    epochs = max(map(attrgetter("epochs"), rows), default=0)
    primary = display(frame.study.primary.split(".", 1)[-1], 12)
    widths = {
        "arm": (names + 2, False),
        "seed": (max(4, seeds), True),
        "state": (11, False),
        "stage": (9 + 2 * len(str(epochs)), False),
        primary: (max(len(primary), 6), True),
        glyphs.delta: (7, True),
        "time": (5, True),
        "reason": (_REASON_WIDTH if lost else 6, False),
    }
    return tuple(
        Column(key=title, titles=(title,), width=width, right=right)
        for title, (width, right) in widths.items()
    )


def trial_detail(row: TrialStatus, glyphs: Glyphs, hint: str = "") -> Spans:
    """Return the line below the list: why a trial failed and what helps, or where it stands."""
    head = (Span(f" {display(row.arm)} s{row.seed}", "strong"), Span("  "))
    state = Span(f"{glyphs.states[row.state]} {row.state}", row.state)
    if row.reason:
        helps = (Span(f" {glyphs.separator} {display(hint)}", "strong"),) if hint else ()
        return (*head, state, Span("  "), Span(display(row.reason), row.state), *helps)
    return (*head, state, Span(f"  {_stage(row)}", "muted"))


def _stage(row: TrialStatus) -> str:
    return f"{display(row.stage, 12)} {row.epoch}/{row.epochs}" if row.stage else ""


def _number(value: float | None, text: str) -> Spans:
    return (Span("" if value is None else text),)


_RETRY_SECONDS = 0.05  # not after the next refresh: that would leave keys no time


class StudyScreen(ControlScreen, CurveScreen):
    """The arm under the cursor of matrix or differences is in focus everywhere."""

    NAME = "study"
    PANES = ("matrix", "differences", "curves", "second", "trials", "log")
    CHARTS = ("curves", "second")
    ABOUT = (
        "First what is asked, what is answered and what runs, a sentence each; the bar of every"
        " screen says what is decided, and `a` adds the seeds that should decide the rest: it asks"
        " the session, or copies the command. The matrix has a row for everything that was varied,"
        " by the name that the study's author gave it, and a cell for each arm: the paired"
        " difference from the baseline, with `*` where its interval leaves out 0, the verdict on"
        " the part, the number of seeds so far while they run, a hatch where a seed failed and"
        " `⊘` where one was blocked by another's failure. Color is evidence, not size: full where"
        " a verdict fell, half where an interval leaves out 0 and nothing is judged, none where a"
        " question is open or its answer is equivalence. Below it stand the same differences with"
        " their intervals and verdicts, and the trials. The arm under the cursor is in focus"
        " everywhere: in the charts its curve and the baseline's have their intervals. `b`"
        " compares with the arm under the cursor instead of the declared baseline, for this view"
        " alone; titles say so, and no part is judged then."
    )
    PICTURE = "study-running-160x45.png"
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("o", "step_outcome(1)", "matrix and differences: next outcome",
            label="Outcome", rank=4),
        Key("O", "step_outcome(-1)", "matrix and differences: previous outcome"),
        Key("T", "group", "group the trials by a setting, an arm, a state or a seed"),
        Key(DECIDE_KEY, "decide", "add the seeds that should decide what is open: asks the session,"
            " or copies the command", label="Decide", rank=3),
    ]  # fmt: skip

    def __init__(self, state: AppState) -> None:
        super().__init__(state)
        self._host_rows = host_rows(None)
        self._shown_log: tuple[LogEntry, ...] | None = None

    def panes(self) -> ComposeResult:
        """Return the panes of the screen, as `MonitorScreen` lays them out."""
        glyphs = self.glyphs
        yield AnswerView(glyphs=glyphs, id="decision")
        with Horizontal(id="study-body", classes="box"):
            with Vertical(id="study-left", classes="box"):
                yield GridTable(glyphs=glyphs, cells=True, detail=True, id="matrix", classes="pane")
                yield GridTable(glyphs=glyphs, id="differences", classes="pane")
                yield GridTable(glyphs=glyphs, cells=True, detail=True, id="trials", classes="pane")
            with Vertical(id="study-right", classes="box"):
                yield CurveChart(glyphs=glyphs, id="curves", classes="pane")
                yield CurveChart(glyphs=glyphs, id="second", classes="pane")
                with Horizontal(id="study-bottom", classes="box"):
                    yield GridTable(glyphs=glyphs, follow=True, id="log", classes="pane")
                    yield HostView(glyphs=glyphs, id="host-panel", classes="pane")

    @property
    def _has_host_panel(self) -> bool:
        return self.state.has_host and not self.is_single and self.size.width >= 150

    def wants_host_line(self) -> bool:
        """Whether this screen has no room for the panel."""
        return not self._has_host_panel

    def arrange_panes(self) -> None:
        """Give answer, matrix and differences what they hold, the rest to trials and charts."""
        self.query_one("#host-panel").display = self._has_host_panel
        single, frame = self.is_single, self.frame
        for name in ("matrix", "differences", "study-bottom"):
            self.query_one(f"#{name}").styles.height = "1fr"
        answer = self.query_one("#decision", AnswerView)
        answer.set_class(not single, "pane")
        answer.display = frame is not None and (not single or self._pane in _PAIR)
        if frame is None:
            return
        used = self._answer_rows(frame)
        answer.styles.height = used
        factors = len(grid_of(frame.study, self.glyphs).factors)
        if single:
            if self._pair_fits:
                room = self.size.height - 3 - used
                most = max(room // 2, room - len(frame.study.arms) - 2)
                self.query_one("#matrix").styles.height = min(factors + 4, most)
            return
        height = self.size.height - 2 - used
        matrix = min(factors + 5, height * 7 // 20)
        differences = min(len(frame.study.arms) + 2, height * 3 // 10)
        bottom = max(self._host_rows + 2 if self._has_host_panel else 0, min(8, height // 5))
        self.query_one("#matrix").styles.height = matrix
        self.query_one("#differences").styles.height = differences
        self.query_one("#study-bottom").styles.height = bottom

    def _answer_rows(self, frame: Frame) -> int:
        """Return the rows of the answer with its border, where it has one."""
        border = 0 if self.is_single else 2
        return len(self._answer(frame)) + border

    def _answer(self, frame: Frame) -> list[Spans]:
        width, height = self.size
        most = (4 if height >= 24 else 3) if self.is_single else max(4, min(12, height // 4))
        border = 0 if self.is_single else 2
        view = self.query_one("#decision", AnswerView)
        return view.lines_of(frame, width - border - 1, most)

    @property
    def _pair_fits(self) -> bool:
        """Whether matrix and differences go below each other on a small terminal."""
        return self.is_single and not self._maximized and self.size.height >= _PAIR_FROM

    def companions(self, pane: str) -> tuple[str, ...]:
        """Return the panes that are shown with one where there is no room for all."""
        return _PAIR if pane in _PAIR and self._pair_fits else (pane,)

    def show_host(self) -> None:
        """Give the panel another line where another device appeared."""
        rows = host_rows(self.state.host)
        if rows != self._host_rows:
            self._host_rows = rows
            self.arrange_panes()
        super().show_host()

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        if pane in self.CHARTS:
            self.fill_chart(pane)
        else:
            {
                "matrix": self._fill_matrix,
                "differences": self._fill_differences,
                "trials": self._fill_trials,
                "log": self._fill_log,
            }[pane]()

    @property
    def outcome(self) -> str:
        """The outcome that matrix and differences show."""
        assert self.frame is not None
        return self.state.choices.outcome or self.frame.study.primary

    def fill_panes(self) -> None:
        """Fill the answer, then the panes."""
        frame = self.frame
        answer = self.query_one("#decision", AnswerView)
        if frame is not None and answer.display:
            rows = self._answer_rows(frame)
            if answer.styles.height is None or answer.styles.height.value != rows:
                self.arrange_panes()
            answer.set_lines(self._answer(frame))
        super().fill_panes()

    def _fill_matrix(self) -> None:
        assert self.frame is not None
        pane, choices = self.query_one("#matrix", GridTable), self.state.choices
        if self._fill_later(pane):
            return
        detail = comparison_detail(self.frame, choices.focus or "", self.outcome, self.glyphs)
        pane.show(self._matrix(pane.size.width), lambda _: detail)
        title = matrix_title(self.frame, self.outcome, self.glyphs)
        pane.set_titles(title, pane.position)
        if choices.focus is not None and self._arm_in_matrix() != choices.focus:
            cell = grid_of(self.frame.study, self.glyphs).cell_of(choices.focus)
            if cell is not None:
                pane.put_cursor(*cell)

    def _fill_later(self, pane: GridTable) -> bool:
        """Return whether a pane is not laid out yet, or hidden: showing it fills it again."""
        if not pane.size.width and self.query_one("#panes").display:
            self.set_timer(_RETRY_SECONDS, lambda: self.refill(str(pane.id)))
        return not pane.size.width

    def _matrix(self, width: int) -> Table:
        assert self.frame is not None
        marked = self.state.choices.marked
        return matrix_table(self.frame, self.outcome, self.glyphs, marked, width)

    def _arm_in_matrix(self) -> str | None:
        pane = self.query_one("#matrix", GridTable)
        if self.frame is None:
            return None
        return grid_of(self.frame.study, self.glyphs).arm_at(pane.key, pane.column_key)

    def _fill_differences(self) -> None:
        assert self.frame is not None
        pane = self.query_one("#differences", GridTable)
        if self._fill_later(pane):
            return
        pane.show(forest_table(self.frame, self.outcome, pane.size.width, self.glyphs))
        if self.state.choices.focus is not None and pane.key != self.state.choices.focus:
            pane.put_cursor(self.state.choices.focus)
        pane.set_titles(forest_title(self.frame, self.outcome, self.glyphs), pane.position)

    def _fill_trials(self) -> None:
        assert self.frame is not None
        pane = self.query_one("#trials", GridTable)
        rows = self.frame.shown_trials

        def detail_of(key: str | None) -> Spans:
            row = next((row for row in rows if trial_key(row) == key), None)
            failure = self._failure
            hint = failure.hint if failure is not None else ""
            return trial_detail(row, self.glyphs, hint) if row is not None else ()

        pane.most_detail = 3 if self._failure is not None else 1
        group = self.state.choices.group
        pane.show(trial_table(self.frame, rows, self.glyphs, group), detail_of)
        found = "" if rows is self.frame.trials else f" {len(rows)} of {len(self.frame.trials)}"
        asked = self.queries()
        if asked and asked[0] not in self.frame.answers:
            self.request_data()  # why the trial under the cursor failed
        by = f" by {display(group, 30)}" if group else ""
        pane.set_titles(f"Trials{by}{found}", pane.position)

    def _fill_log(self) -> None:
        assert self.frame is not None
        pane = self.query_one("#log", GridTable)
        if self.frame.log != self._shown_log:
            self._shown_log = self.frame.log
            pane.show(log_table(self.frame.log, places_of(self.frame.study)))
        following = "" if pane.follow else f" {self.glyphs.separator} paused, f follows"
        pane.set_titles(f"Log{following}", pane.position)

    def queries(self) -> tuple[Query[Any], ...]:
        """Ask why the trial under the cursor failed, where it did."""
        row = row_of(self.frame, self.trial_in_view()) if self.frame is not None else None
        has_failed = row is not None and row.state == "failed"
        return (FailureQuery(row.arm, row.seed),) if row is not None and has_failed else ()

    @property
    def _failure(self) -> Failure | None:
        asked = self.queries()
        return self.frame.answer(asked[0]) if self.frame is not None and asked else None

    def on_resize(self) -> None:
        """Draw the differences for the new width once it is known."""
        super().on_resize()
        self.call_after_refresh(self.refill, "matrix", "differences")

    @on(GridTable.Moved, "#matrix")
    def _matrix_moved(self) -> None:
        arm = self._arm_in_matrix()
        if arm is not None:
            self.focus_arm(arm)

    @on(GridTable.Moved, "#differences")
    def _difference_moved(self, event: GridTable.Moved) -> None:
        if event.table.key is not None:
            self.focus_arm(event.table.key)

    @on(GridTable.Moved, "#trials")
    def _trial_moved(self, event: GridTable.Moved) -> None:
        self.state.choices.trial = trial_of(event.table.key)
        self.request_data()
        self.refill("trials")

    @on(GridTable.Moved, "#log")
    def _log_moved(self) -> None:
        self.refill("log")

    @on(GridTable.Chosen, "#matrix")
    @on(GridTable.Chosen, "#differences")
    def _arm_chosen(self) -> None:
        self.go_to("curves")

    @on(GridTable.Chosen, "#trials")
    def _trial_chosen(self, event: GridTable.Chosen) -> None:
        trial = trial_of(event.table.key)
        if trial is not None:  # else it heads a group
            self.state.choices.trial = trial
            self.state.open("trial")

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm under a table's cursor."""
        if table.id == "matrix":
            return self._arm_in_matrix()
        if table.id == "differences":
            return table.key
        trial = trial_of(table.key) if table.id == "trials" else None
        return trial[0] if trial else None

    def trial_in_view(self) -> tuple[str, int] | None:
        """Return the trial that a request would be about."""
        return trial_of(self.query_one("#trials", GridTable).key)

    def applies(self, action: str) -> bool:
        """Whether an action can do something now: deciding needs advice."""
        if action == "decide":
            return self.frame is not None and seeds_advised(self.frame) is not None
        return super().applies(action)

    def action_group(self) -> None:
        """Ask what the trials are grouped by."""
        if self.frame is None:
            return
        items = {"nothing": "as planned, running ones first", **groupings(self.frame.study)}
        current = self.state.choices.group or "nothing"
        picker = Picker("Group the trials by", items, current, glyphs=self.glyphs)
        self.app.push_screen(picker, self._group_chosen)

    def _group_chosen(self, group: str | None) -> None:
        if group is not None:
            self.state.choices.group = "" if group == "nothing" else group
            self.refill("trials")

    def view_state(self) -> dict[str, Any]:
        """Return what a saved view holds, with the order of the trials."""
        choices, sorting = self.state.choices, self.query_one("#trials", GridTable).sorting
        return {
            **super().view_state(), "group": choices.group, "outcome": choices.outcome,
            "sort": list(sorting) if sorting is not None else None,
        }  # fmt: skip

    def apply_view(self, view: SavedView) -> None:
        """Show what a saved view holds, as far as this study has it."""
        super().apply_view(view)
        assert self.frame is not None
        choices, study = self.state.choices, self.frame.study
        group, outcome = text_of(view, "group") or "", text_of(view, "outcome")
        choices.group = group if group in groupings(study) else ""
        choices.outcome = outcome if outcome in study.metrics else study.primary
        match view.get("sort"):
            case [str(column), bool(down)]:
                self.query_one("#trials", GridTable).sort_by((column, down))
            case _:
                self.query_one("#trials", GridTable).sort_by(None)

    def action_decide(self) -> None:
        """Have the seeds added that should decide what is open, once the user says yes.

        Where no session runs that could be asked, the command that adds them is copied.
        """
        frame = self.frame
        count = seeds_advised(frame) if frame is not None else None
        if frame is None or count is None:
            self.say("nothing is open that a known number of seeds would decide")
        elif frame.progress.session == "live":
            self.action_ask("decide")
        else:
            command = f"icckd run STUDY.toml --add-seeds {count}"
            self.app.copy_to_clipboard(command)
            self.say(f"no session runs; copied: {command}")

    def action_step_outcome(self, step: int) -> None:
        """Show the next or the previous outcome in matrix and differences."""
        if self.frame is not None:
            names = self.frame.study.metrics
            place = names.index(self.outcome)
            self.state.choices.outcome = names[(place + step) % len(names)]
            self.refill("matrix", "differences")
