"""The host screen: the machine's history, the processes that train, the risk of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical

from icckd_tui.data import Frame, arm_index
from icckd_tui.host import FULL, Host, growth_text, process_of, size_text, sparkline, used_text
from icckd_tui.screens.base import MonitorScreen
from icckd_tui.tables import Row, Table, fitted
from icckd_tui.text import Span, Spans, arm_letter, arm_tone, display
from icckd_tui.theme import Glyphs
from icckd_tui.widgets.lines import LinesWidget
from icckd_tui.widgets.table import GridTable

if TYPE_CHECKING:
    from icckd.resources import GpuSample, HostSample

_SPARK = 20
_HIGHEST = 8  # lines of bars
_TIGHT = 0.85  # of the memory


def history_lines(host: Host | None, width: int, height: int, glyphs: Glyphs) -> list[Spans]:
    """Return a title and bars for each measure, as high as the room allows; newest on the right."""
    if host is None or not host.past:
        return [(Span(" no reading yet", "muted"),)]
    measures = _measures(host.past[-1])
    rows = min(_HIGHEST, max(1, height // len(measures) - 1))
    lines: list[Spans] = []
    for name, share, detail in measures:
        values = [share(sample) for sample in host.past]
        newest = values[-1]
        figure = "-" if newest is None else f"{newest:.0f} %"
        tone = "warning" if newest is not None and newest >= FULL else "strong"
        lines.append(
            (Span(f" {name:<8}"), Span(f"{figure:>6}", tone), Span(f"  {detail}", "muted"))
        )
        lines += _bars(values, width - 2, rows, glyphs)
    return lines[:height]


Share = Callable[["HostSample"], float | None]


def _measures(sample: HostSample) -> list[tuple[str, Share, str]]:
    found: list[tuple[str, Share, str]] = [
        ("CPU", lambda s: s.cpu, f"load {sample.load:.1f}"),
        (
            "memory",
            lambda s: 100.0 * s.memory_used / s.memory_total if s.memory_total else None,
            used_text(sample.memory_used, sample.memory_total),
        ),
    ]
    found.append(
        (
            "disk",
            lambda s: 100.0 * (1 - s.disk_free / s.disk_total) if s.disk_total else None,
            f"{size_text(sample.disk_free)} free",
        )
    )
    for place, gpu in enumerate(sample.gpus):
        number = f" {place}" if len(sample.gpus) > 1 else ""
        found.append((f"GPU{number}", _gpu_use(place), display(gpu.name, 30)))
        found.append((f"memory{number}", _gpu_memory(place), _gpu_text(gpu)))
    return found


def _gpu_use(place: int) -> Share:
    return lambda s: s.gpus[place].utilisation if place < len(s.gpus) else None


def _gpu_memory(place: int) -> Share:
    def share(sample: HostSample) -> float | None:
        gpu = sample.gpus[place] if place < len(sample.gpus) else None
        if gpu is None or gpu.memory_used is None or not gpu.memory_total:
            return None
        return 100.0 * gpu.memory_used / gpu.memory_total

    return share


def _gpu_text(gpu: GpuSample) -> str:
    if gpu.memory_used is None or gpu.memory_total is None:
        return "-"
    return used_text(gpu.memory_used, gpu.memory_total)


def _bars(values: list[float | None], width: int, rows: int, glyphs: Glyphs) -> list[Spans]:
    """Return bars of one cell a sample: eight steps a row in Unicode."""
    steps = len(glyphs.levels)
    shown = values[-width:]
    heights = [0 if v is None else round(min(100.0, max(0.0, v)) / 100 * rows * steps)
               for v in shown]  # fmt: skip
    heights = [max(1, h) if v else h for h, v in zip(heights, shown, strict=True)]
    lines: list[Spans] = []
    for row in range(rows - 1, -1, -1):
        filled = (min(steps, max(0, height - row * steps)) for height in heights)
        text = "".join(glyphs.levels[f - 1] if f else " " for f in filled)
        lines.append((Span(f" {text.rjust(width)}", "good"),))
    return lines


def process_table(frame: Frame, host: Host | None, glyphs: Glyphs) -> Table:
    """Return one row a process that trains: its trial, and what it uses."""
    rows = []
    for stage in frame.queue:
        if stage.state != "running":
            continue
        past = process_of(host, stage)
        arm, seed = stage.trials[0]
        index = arm_index(frame.study, arm)
        more = f" +{len(stage.trials) - 1}" if len(stage.trials) > 1 else ""
        now = past[-1] if past else None
        gpu = size_text(now.gpu_memory) if now and now.gpu_memory is not None else "-"
        shares = tuple(sample.cpu for sample in past) if past else ()
        rows.append(
            Row(
                key=stage.stage,
                cells=(
                    (
                        Span(f"{arm_letter(index)} ", arm_tone(index)),
                        Span(f"{display(arm, 24)} s{seed}{more}"),
                    ),
                    (Span(stage.kind, "muted"),),
                    (Span(str(stage.pid or "-")),),
                    (Span("-" if now is None else f"{now.cpu:.0f} %"),),
                    (Span("-" if now is None else size_text(now.memory)),),
                    (Span(glyphs.signed(growth_text(past)) if past else "-"),),
                    (Span("-" if stage.memory is None else size_text(int(stage.memory)), "muted"),),
                    (Span(gpu),),
                    (Span(sparkline(shares, _SPARK, glyphs), "good"),),
                    (Span("" if now else display(f"on {stage.host}", 30), "muted"),),
                ),
            )
        )
    titles = (
        "trial",
        "stage",
        "pid",
        "CPU",
        "memory",
        "a minute",
        "usual peak",
        "GPU memory",
        "CPU, 20 s",
        "",
    )
    columns = fitted(rows, titles, right=(2, 3, 4, 5, 6, 7))
    return Table(columns=columns, rows=tuple(rows), frozen=2)


def memory_risk(frame: Frame, host: Host | None, glyphs: Glyphs) -> Spans:
    """Return whether memory may run out: what is used, and what running stages usually add.

    A stage is expected to reach the median peak of complete stages of its shape.
    """
    if host is None or host.sample is None or not host.sample.memory_total:
        return ()
    sample, more, unknown = host.sample, 0.0, 0
    for stage in frame.queue:
        if stage.state != "running":
            continue
        past = process_of(host, stage)
        if stage.memory is None or past is None:
            unknown += 1
        else:
            more += max(0.0, stage.memory - past[-1].memory)
    share = (sample.memory_used + more) / sample.memory_total
    word, tone = ("no risk seen", "good")
    if share > 1.0:
        word, tone = ("memory will likely run out", "error")
    elif share > _TIGHT:
        word, tone = ("memory may run out", "warning")
    added = f"running stages usually add {size_text(int(more))}" if more else ""
    guess = f"{unknown} without an earlier peak" if unknown else ""
    parts = [used_text(sample.memory_used, sample.memory_total) + " used", added, guess]
    separator = f" {glyphs.separator} "
    return (Span(f" {word}", tone), Span(separator + separator.join(p for p in parts if p)))


class HistoryView(LinesWidget, can_focus=True):
    """Draws lines as high as it is."""


class HostScreen(MonitorScreen):
    """History above, processes below."""

    NAME = "host"
    PANES = ("processes", "history")
    ALL_FROM = (80, 20)
    ABOUT = (
        "The last ten minutes of CPU, memory, disk and GPUs, the processes that train with their"
        " trials, and whether memory may run out: a running stage is expected to reach the median"
        " peak of complete stages of its shape. `a minute` is by how much a process grows: the"
        " slope of its last samples, one a second, sixty at most."
    )

    def panes(self) -> ComposeResult:
        with Vertical(id="host-body", classes="box"):
            yield HistoryView(glyphs=self.glyphs, id="history", classes="pane")
            yield GridTable(glyphs=self.glyphs, detail=True, id="processes", classes="pane")

    def wants_host_line(self) -> bool:
        """The whole screen is about the machine."""
        return False

    def request_data(self) -> None:
        """Ask for who trains."""
        self.state.request_data(queue=True)

    def arrange_panes(self) -> None:
        """Give processes their lines."""
        lines = self.frame.progress.workers if self.frame is not None else 1
        height = "1fr" if self.is_single else min(max(1, lines) + 4, self.size.height // 2)
        self.query_one("#processes").styles.height = height

    def on_resize(self) -> None:
        """Draw for the new size once it is known."""
        super().on_resize()
        self.call_after_refresh(self.show_host)

    def show_host(self) -> None:
        """Show the newest sample."""
        self.refill("history", "processes")

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        assert self.frame is not None
        if pane == "history":
            view = self.query_one("#history", HistoryView)
            view.set_lines(history_lines(self.state.host, *view.size, self.glyphs))
            seconds = len(self.state.host.past) if self.state.host is not None else 0
            view.set_titles(f"This machine, the last {seconds} s" if seconds else "This machine")
            return
        table = self.query_one("#processes", GridTable)
        table.show(process_table(self.frame, self.state.host, self.glyphs))
        count = len(table.table.rows)
        table.set_titles(f"Training {count}" if count else "Nothing trains now", table.position)
        table.show_detail(memory_risk(self.frame, self.state.host, self.glyphs))

    @on(GridTable.Chosen, "#processes")
    def _chosen(self, event: GridTable.Chosen) -> None:
        rows = self.frame.queue if self.frame is not None else ()
        found = next((row.trials for row in rows if row.stage == event.table.key), ())
        if found:
            self.state.choices.trial = found[0]
            self.state.open("trial")
