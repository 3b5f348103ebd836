"""Screens with charts of curves: what is chosen for each chart, and the keys that change it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.binding import BindingType

from icckd_tui.data import Frame, Query, Update, default_metrics, seconds_series
from icckd_tui.keys import Key
from icckd_tui.screens.base import ArmScreen
from icckd_tui.screens.dialogs import MetricPicker
from icckd_tui.state import AppState
from icckd_tui.views import SavedView, number_of, text_of
from icckd_tui.widgets.chart import CurveChart

if TYPE_CHECKING:
    from icckd_tui.chart import ChartChoice, SeedsMode, XAxis

_SEEDS: tuple[SeedsMode, ...] = ("mean", "each", "both")
_X: tuple[XAxis, ...] = ("epoch", "step", "time", "relative")
_MOST_SMOOTHING = 5
_OF_CHARTS = (
    "pick_metric", "step_metric", "cycle_seeds", "smooth", "cycle_x", "zoom", "reset_zoom", "pan",
    "pin", "value_cursor",
)  # fmt: skip
_NARROWEST = 0.02  # share of the x axis


@dataclass(slots=True)
class XView:
    """The shown part of x and the value cursor, as shares of the whole."""

    low: float = 0.0
    high: float = 1.0
    cursor: float | None = None
    follow: bool = True

    def zoom(self, step: int) -> None:
        """Show half as much or twice as much, around the cursor or else the newest values."""
        size = min(1.0, max(_NARROWEST, (self.high - self.low) * (0.5 if step > 0 else 2.0)))
        self._move_to(self.high - size if self.cursor is None else self.cursor - size / 2, size)

    def pan(self, step: int) -> None:
        """Move by a quarter of what is shown."""
        size = self.high - self.low
        self._move_to(self.low + step * size / 4, size)

    def _move_to(self, low: float, size: float) -> None:
        self.low = min(max(0.0, low), 1.0 - size)
        self.high = self.low + size


@dataclass(slots=True)
class View:
    """What one chart shows. A metric of None means the one that comes first for its place."""

    metric: str | None = None
    log_y: bool = False
    log_x: bool = False
    x: XView = field(default_factory=XView)


class CurveScreen(ArmScreen):
    """A screen with charts among its panes.

    Attributes:
        CHARTS: The panes that are charts.
    """

    CHARTS: ClassVar[tuple[str, ...]]
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("m", "pick_metric", "pick the metric", label="Metric", rank=3),
        Key("left_square_bracket", "step_metric(-1)", "previous metric"),
        Key("right_square_bracket", "step_metric(1)", "next metric"),
        Key("c", "cycle_seeds", "mean with its 95 % interval, each seed, or both",
            label="Seeds", rank=7),
        Key("s", "smooth(1)", "smooth more", label="Smooth", rank=7),
        Key("S", "smooth(-1)", "smooth less"),
        Key("x", "cycle_x", "x axis: epoch, step, time, relative", label="X axis", rank=9),
        Key("plus,equals_sign", "zoom(1)", "zoom in, to the value cursor or to the newest values",
            label="In", rank=7),
        Key("minus", "zoom(-1)", "zoom out"),
        Key("0", "reset_zoom", "the whole range again"),
        Key("less_than_sign", "pan(-1)", "pan left"),
        Key("greater_than_sign", "pan(1)", "pan right"),
        Key("n", "pin", "pin the arm in focus: drawn on top of all others; again: no longer",
            label="Pin", rank=9),
        Key("v", "value_cursor", "value cursor: left and right move it", label="Values", rank=9),
    ]  # fmt: skip

    def __init__(self, state: AppState) -> None:
        super().__init__(state)
        shared = XView()
        self._views = {name: View(x=shared) for name in self.CHARTS}
        self._seeds: SeedsMode = "mean"
        self._smoothing = 0
        self._x: XAxis = "epoch"
        self._wanted = len(self.CHARTS)

    def is_wanted(self, pane: str) -> bool:
        """Whether a pane is in use now: a chart where there is a series left for it."""
        has_series = self.frame is not None and bool(self.frame.series)
        is_later = pane in self.CHARTS[1:]
        return not (is_later and has_series and self.metric_of(pane) is None)

    def is_wanted_chart(self, chart: str) -> bool:
        """Whether a chart is in use now."""
        return self.is_wanted(chart)

    def show_update(self, update: Update) -> None:
        """Show an update; the first series for a chart makes room for it."""
        super().show_update(update)
        wanted = sum(self.is_wanted(chart) for chart in self.CHARTS)
        if self.is_mounted and wanted != self._wanted and isinstance(update, Frame):
            self._wanted = wanted
            self.request_data()
            self.lay_out()

    @property
    def chart_name(self) -> str:
        """The chart that keys are for: the one with the user in it, else the first."""
        return self._pane if self._pane in self.CHARTS else self.CHARTS[0]

    @property
    def view(self) -> View:
        """What that chart shows."""
        return self._views[self.chart_name]

    def metric_of(self, chart: str) -> str | None:
        """Return the series of a chart: the chosen one, or that which comes in its place."""
        frame = self.frame
        if frame is None or not frame.series:
            return self._views[chart].metric
        chosen = self._views[chart].metric
        if chosen in frame.series:
            return chosen
        names = self.state.choices.metrics.kept(default_metrics(frame.study, frame.series))
        place = self.CHARTS.index(chart)
        return names[place] if place < len(names) else None

    def applies(self, action: str) -> bool:
        """Whether an action can do something now: what charts are asked for needs a series."""
        if action.partition("(")[0] in _OF_CHARTS:
            return self.frame is not None and bool(self.frame.series)
        return super().applies(action)

    def request_data(self) -> None:
        """Ask for the curves of the charts in use."""
        names = [self.metric_of(chart) for chart in self.CHARTS if self.is_wanted_chart(chart)]
        wanted = [name for name in names if name is not None]
        if self._x == "time":
            wanted += [seconds_series(name) for name in wanted]
        self.state.request_data(metrics=tuple(dict.fromkeys(wanted)), queries=self.queries())

    def queries(self) -> tuple[Query[Any], ...]:
        """Return what else the screen has read."""
        return ()

    def choice_of(self, chart: str) -> ChartChoice:
        """Return all that the user chose for a chart."""
        from icckd_tui.chart import ChartChoice

        view = self._views[chart]
        return ChartChoice(
            focus=self.state.choices.focus or "",
            seeds=self._seeds,
            log_y=view.log_y,
            log_x=view.log_x,
            smoothing=self._smoothing,
            x=self._x,
            window=(view.x.low, view.x.high),
            cursor=view.x.cursor,
            only=self.arms_drawn(),
            pinned=self.state.choices.pinned or "",
        )

    def arms_drawn(self) -> frozenset[str]:
        """Return the arms that the charts draw, all when empty."""
        return frozenset()

    def fill_chart(self, chart: str) -> None:
        """Draw a chart; what was not read yet stays as it was until it is."""
        from icckd_tui.chart import chart_of, chart_title

        metric = self.metric_of(chart)
        if self.frame is None or (metric is not None and metric not in self.frame.curves):
            self.request_data()
            return
        choice = self.choice_of(chart)
        known = None if metric is None else self.frame.study.metric(metric)
        title = chart_title(known, choice, self.glyphs)
        self.query_one(f"#{chart}", CurveChart).show(
            chart_of(self.frame, metric, choice), metric, title
        )

    def fill_charts(self) -> None:
        """Draw every visible chart again."""
        self.refill(*self.CHARTS)

    def action_toggle_log_y(self) -> None:
        self.view.log_y = not self.view.log_y
        self.refill(self.chart_name)

    def action_toggle_log_x(self) -> None:
        self.view.log_x = not self.view.log_x
        self.refill(self.chart_name)

    def action_cycle_seeds(self) -> None:
        """Show the mean with its interval, each seed, or both."""
        self._seeds = _SEEDS[(_SEEDS.index(self._seeds) + 1) % len(_SEEDS)]
        self.fill_charts()

    def action_smooth(self, step: int) -> None:
        self._smoothing = min(_MOST_SMOOTHING, max(0, self._smoothing + step))
        self.fill_charts()

    def action_cycle_x(self) -> None:
        """Show epochs, steps, seconds or shares of what is planned."""
        self._x = _X[(_X.index(self._x) + 1) % len(_X)]
        self.request_data()
        self.fill_charts()

    def action_zoom(self, step: int) -> None:
        self.view.x.zoom(step)
        self.fill_charts()

    def action_reset_zoom(self) -> None:
        self.view.x.low, self.view.x.high = 0.0, 1.0
        self.fill_charts()

    def action_pan(self, step: int) -> None:
        self.view.x.pan(step)
        self.fill_charts()

    def action_value_cursor(self) -> None:
        """Show the value cursor at the newest values, or hide it."""
        x = self.view.x
        x.cursor = x.high if x.cursor is None else None
        self.cursor_changed()

    def action_move_cursor(self, step: int) -> None:
        """Move the value cursor by a fiftieth of what is shown; the first press shows it."""
        x = self.view.x
        at = (x.high if step < 0 else x.low) if x.cursor is None else x.cursor
        x.cursor = min(x.high, max(x.low, at + step * (x.high - x.low) / 50))
        self.cursor_changed()

    def cursor_changed(self) -> None:
        """Draw the charts again, the value cursor is elsewhere."""
        self.fill_charts()

    def action_focus_arm(self, step: int) -> None:
        if self.frame is not None:
            names = [arm.name for arm in self.frame.study.arms]
            place = (
                names.index(self.state.choices.focus) if self.state.choices.focus in names else 0
            )
            self.focus_arm(names[min(len(names) - 1, max(0, place + step))])

    def focus_arm(self, arm: str) -> None:
        """Put an arm into focus everywhere."""
        self.state.choices.focus = arm
        self.fill_panes()

    def action_step_metric(self, step: int) -> None:
        series = self._series()
        metric = self.metric_of(self.chart_name)
        if series:
            place = series.index(metric) if metric in series else -step
            self._set_metric(series[(place + step) % len(series)])

    def _series(self) -> tuple[str, ...]:
        """Return the series that the filter of metrics keeps."""
        return self.state.choices.metrics.kept(self.frame.series) if self.frame else ()

    def action_pick_metric(self) -> None:
        if self.frame is not None and self.frame.series:
            current = self.metric_of(self.chart_name)
            study = self.frame.study
            known = tuple(study.metric(name) for name in self._series())
            picker = MetricPicker(known, current, glyphs=self.glyphs)
            self.app.push_screen(picker, self._set_metric)

    def _set_metric(self, metric: str | None) -> None:
        if metric is not None:
            self.view.metric = metric
            self.request_data()
            self.refill(self.chart_name)

    def action_pin(self) -> None:
        """Draw the arm in focus on top of all others, or no longer."""
        choices = self.state.choices
        choices.pinned = None if choices.pinned == choices.focus else choices.focus
        self.fill_charts()

    @on(CurveChart.Pointed)
    def _pointed(self, event: CurveChart.Pointed) -> None:
        x = self.view.x
        x.cursor = x.low + event.share * (x.high - x.low)
        self.cursor_changed()

    @on(CurveChart.Zoomed)
    def _zoomed(self, event: CurveChart.Zoomed) -> None:
        self.action_zoom(event.step)

    def view_state(self) -> dict[str, Any]:
        """Return what a saved view holds, with what each chart shows."""
        charts = {
            name: {
                "metric": view.metric, "log_x": view.log_x, "log_y": view.log_y,
                "low": view.x.low, "high": view.x.high,
            }
            for name, view in self._views.items()
        }  # fmt: skip
        return {
            **super().view_state(), "charts": charts, "seeds": self._seeds, "x": self._x,
            "smoothing": self._smoothing, "pinned": self.state.choices.pinned,
        }  # fmt: skip

    def apply_view(self, view: SavedView) -> None:
        """Show what a saved view holds, as far as this study and this screen have it."""
        super().apply_view(view)
        arms = [arm.name for arm in self.frame.study.arms] if self.frame is not None else []
        pinned = text_of(view, "pinned")
        self.state.choices.pinned = pinned if pinned in arms else None
        self._seeds = next((each for each in _SEEDS if each == view.get("seeds")), self._seeds)
        self._x = next((each for each in _X if each == view.get("x")), self._x)
        self._smoothing = int(number_of(view, "smoothing", 0, _MOST_SMOOTHING) or 0)
        charts = view.get("charts")
        for name, own in self._views.items():
            saved = charts.get(name) if isinstance(charts, dict) else None
            if isinstance(saved, dict):
                own.metric = text_of(saved, "metric")
                own.log_x, own.log_y = saved.get("log_x") is True, saved.get("log_y") is True
                low, high = number_of(saved, "low", 0, 1), number_of(saved, "high", 0, 1)
                if low is not None and high is not None and high - low >= _NARROWEST:
                    own.x.low, own.x.high = low, high

    def share_view(self, shared: bool) -> None:
        """Let all charts have one x range, or each its own from here on."""
        first = self.view.x
        for view in self._views.values():
            view.x = first if shared else replace(view.x)
