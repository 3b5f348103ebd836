"""What shows the progress of a session: plain lines, live lines on a terminal, or a notebook."""

import contextlib
import functools
import importlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icckd.report.numbers import duration, scale_for
from icckd.report.text import display
from icckd.results.query import Results
from icckd.results.types import Progress, StudyInfo, TrialStatus
from icckd.run.schedule import Transition
from icckd.run.session import Listener, RunRequest
from icckd.study.plan import Plan
from icckd.study.records import Stage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

TICK_SECONDS = 0.5
REFRESHES_APART = 50
"""Least time between two refreshes of the database, in times of what one takes."""
LOOKS_APART = 20
"""Least time between two looks at what stages came to, in times of what one takes."""
RUNNING_SHOWN = 3
ARMS_SHOWN = 4


@contextlib.contextmanager
def terminal_listener(results: Results, request: RunRequest) -> Iterator[Listener]:
    """Yield the listener that fits standard error."""
    if request.complete >= request.plan.stages.keys():
        shown = PlainLines(results, request, _write)  # a line or two: Rich takes longer to import
        yield shown
        shown.say_changes()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    with contextlib.ExitStack() as stack:
        shown = PlainLines(results, request, _written_by(console))
        if console.is_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False, transient=True))
            shown = LiveLine(results, request, console, live)
        yield shown
        shown.say_changes()


def _write(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _written_by(console: "Console") -> Callable[[str], None]:
    return functools.partial(console.print, markup=False, soft_wrap=True)


@contextlib.contextmanager
def notebook_listener(results: Results, request: RunRequest) -> Iterator[Listener]:
    """Yield a listener that shows a bar below the cell of a notebook that runs the study."""
    bar = NotebookBar(results, request)
    yield bar
    bar.say_changes()
    bar.show()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A transition that is to be told.

    Attributes:
        change: The transition.
        stage: Its stage.
        at: The time of day.
        took: How long the stage took, in words.
        left: Stages that were left then.
    """

    change: Transition
    stage: Stage
    at: str
    took: str
    left: int


class PlainLines:
    """A plain line for every stage that starts or ends, with what it came to and the time left.

    What changes at once, as the stages of a pack, is looked up and told together.
    """

    def __init__(self, results: Results, request: RunRequest, write: Callable[[str], None]) -> None:
        self._results = results
        self._print = write
        self._plan = request.plan
        self._started: dict[str, float] = {}
        self._changes: list[_Change] = []
        self._left = sum(digest not in request.complete for digest in request.plan.stages)
        self._next_refresh = self._next_look = 0.0
        self._refresh_seconds = 0.0
        self._name = request.study.study.name
        self._say_begin()

    def _say_begin(self) -> None:
        self._print(f"study {self._name}: {self._left} of {len(self._plan.stages)} stages to train")
        if self._left:
            self._print(f"live view: icckd watch {self._name}")

    @functools.cached_property
    def _study(self) -> StudyInfo:
        """What this session planned, which stays as it is: asking again would read every seed."""
        return self._results.study(self._name)

    def transition(self, change: Transition, stage: Stage) -> None:
        """Keep a change until it is told: at the next tick, or when looking is cheap again."""
        now, took = time.monotonic(), ""
        if change.state == "running":
            self._started[stage.digest] = now
        elif stage.digest in self._started:
            took = f" in {duration(now - self._started.pop(stage.digest))}"
        if change.state in ("complete", "failed", "blocked", "cancelled"):
            self._left -= 1
        at = time.strftime("%H:%M:%S")
        self._changes.append(_Change(change=change, stage=stage, at=at, took=took, left=self._left))

    def say_changes(self) -> None:
        """Print a line each: state, stage, how long it took, its accuracy, what is left, why."""
        changes, self._changes = self._changes, []
        if any(each.change.state in ("complete", "failed") for each in changes):
            start = time.monotonic()
            self._results.refresh()
            end = time.monotonic()
            self._next_look = end + LOOKS_APART * (end - start)
        trained = [each.stage for each in changes if each.change.state == "complete" and each.took]
        reached = self._reached(trained)
        time_left = self._time_left() if any(c.change.state != "running" for c in changes) else ""
        for each in changes:
            change, stage = each.change, each.stage
            reason = f": {display(change.reason)}" if change.reason else ""
            if change.state == "failed":
                reason = self._failure(stage) or reason
            about = time_left if each.left else ""
            left = f" ({each.left} left{about})" if change.state != "running" else ""
            self._print(
                f"{each.at} {change.state:<9} {_title(self._plan, stage)}"
                f"{each.took}{reached.get(stage.digest, '')}{left}{reason}"
            )

    def notice(self, text: str) -> None:
        self.say_changes()
        self._print(f"{time.strftime('%H:%M:%S')} {display(text)}")

    def tick(self) -> None:
        """Tell what changed; bring the database up to date twice a second, or for 2 % of a core."""
        start = time.monotonic()
        if self._changes and start >= self._next_look:
            self.say_changes()
        if start >= self._next_refresh:
            self._results.refresh()
            self._after_refresh()
            end = time.monotonic()
            is_first, self._refresh_seconds = not self._refresh_seconds, end - start
            apart = 0.0 if is_first else REFRESHES_APART * self._refresh_seconds
            self._next_refresh = end + max(TICK_SECONDS, apart)  # the first one loads much

    def _reached(self, stages: Sequence[Stage]) -> dict[str, str]:
        """Return what stages came to, by digest: their primary outcome, or their accuracy.

        Only their own values are read: a session that read those of all trials whenever some ended
        would need more and more memory for it.
        """
        found = {}
        for kind in dict.fromkeys(stage.kind for stage in stages):
            study = self._study
            metric = study.primary if study.primary.startswith(f"{kind}.") else f"{kind}.top1"
            users = {
                stage.digest: [(trial.arm, trial.seed) for trial in self._plan.users(stage.digest)]
                for stage in stages
                if stage.kind == kind
            }
            trials = {trial for each in users.values() for trial in each}
            values = self._results.values_of(study, metric, trials)
            for digest, each in users.items():
                known = (values[trial] for trial in each if trial in values)
                value = next(filter(math.isfinite, known), None)
                if value is not None:
                    scale = scale_for(study.metric(metric).unit, [value])
                    text = f", {metric} {scale.value(value)} {scale.unit}"
                    found[digest] = text.rstrip()
        return found

    def _failure(self, stage: Stage) -> str:
        """Return why a stage failed, and what helps, as far as its journal tells."""
        trial = self._plan.users(stage.digest)[0]
        attempts = self._results.attempts(self._study, trial.arm, trial.seed)
        told = next((each for each in reversed(attempts) if each.reason), None)
        if told is None:
            return ""
        hint = f"; hint: {display(told.hint)}" if told.hint else ""
        return f": {display(told.reason)}{hint}"

    def _time_left(self) -> str:
        if not (self._left and self._refresh_seconds):
            return ""  # nothing was looked at yet
        seconds = self._results.progress(self._study).eta_seconds
        return "" if seconds is None else f", about {duration(seconds)}"

    def _after_refresh(self) -> None:
        """For a subclass that shows more than what changed."""


class LiveLine(PlainLines):
    """Lines that live below; only what went wrong stays on the screen."""

    def __init__(
        self, results: Results, request: RunRequest, console: "Console", live: "Live"
    ) -> None:
        super().__init__(results, request, _written_by(console))
        self._console = console
        self._live = live
        total = len(self._plan.stages)
        self._show([f"{_bar(console, total - self._left, total)} starting"])

    def transition(self, change: Transition, stage: Stage) -> None:
        if change.state in ("failed", "blocked") or change.reason:
            super().transition(change, stage)

    def _after_refresh(self) -> None:
        study = self._study
        progress = self._results.progress(study)
        states = progress.stages
        done, total = states.complete, states.total
        bar = f"{_bar(self._console, done, total)} {done}/{total} stages"
        lines = [
            ", ".join(filter(None, [bar, _failed(states.failed), _left_text(progress)])),
            *(f"  {line}" for line in _running(self._results, study)),
            *(f"  {line}" for line in _so_far(self._results, study)),
        ]
        self._show(lines)

    def _show(self, lines: list[str]) -> None:
        from rich.text import Text

        text = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        self._live.update(text, refresh=True)


class NotebookBar(PlainLines):
    """A progress bar below a cell; lines stay for what went wrong.

    The bar is a display of IPython that is updated in place, which any front end shows and a saved
    notebook keeps; the widgets that rich would use are not needed.
    """

    def __init__(self, results: Results, request: RunRequest) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as ProgressBar

        show = importlib.import_module("IPython.display").display  # there, in a notebook
        self._bar = ProgressBar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("stages{task.fields[more]}", markup=False),
            auto_refresh=False,
            console=Console(stderr=True, force_jupyter=False),
        )
        total = len(request.plan.stages)
        self._task = self._bar.add_task(
            display(request.study.study.name), total=total, completed=total, more=""
        )
        self._handle: Any = show(self._table(), display_id=True)
        console = Console(stderr=True, force_jupyter=False)
        super().__init__(results, request, _written_by(console))

    def transition(self, change: Transition, stage: Stage) -> None:
        if change.state in ("failed", "blocked") or change.reason:
            super().transition(change, stage)

    def show(self) -> None:
        """Show where the study stands now."""
        self._results.refresh()
        self._after_refresh()

    def _say_begin(self) -> None:
        """The bar says so."""

    def _after_refresh(self) -> None:
        study = self._study
        states, more = self._results.progress(study).stages, _more(self._results, study)
        self._bar.update(
            self._task, completed=states.complete, total=states.total, more=f"  {more}"
        )
        self._handle.update(self._table())

    def _table(self) -> Any:
        return self._bar.make_tasks_table(self._bar.tasks)


def _more(results: Results, study: StudyInfo) -> str:
    """Return what failed, how long the rest should take, and what runs, in one line."""
    progress = results.progress(study)
    now = "; ".join(_running(results, study))
    told = [_failed(progress.stages.failed), _left_text(progress)]
    return f"{', '.join(filter(None, told))}  {now}".rstrip()


def _failed(count: int) -> str:
    return f"{count} failed" if count else ""


def _left_text(progress: Progress) -> str:
    """Return the time left: unknown until the first epoch, then estimated, then measured."""
    if progress.eta_seconds is None:
        return "time left: known after the first epoch"
    return f"about {duration(progress.eta_seconds)} left" if progress.eta_seconds else ""


def _running(results: Results, study: StudyInfo) -> list[str]:
    """Return what runs: trial, stage, epoch, and its validation accuracy so far."""
    running = [row for row in results.unsettled(study) if row.state == "running"]
    lines = []
    for row in running[:RUNNING_SHOWN]:
        accuracy = _validation(results, study, row)
        lines.append(f"{row.arm}/{row.seed} {row.stage} {row.epoch}/{row.epochs}{accuracy}")
    return [*lines, *([f"and {len(running) - RUNNING_SHOWN} more"] if running[3:] else [])]


def _validation(results: Results, study: StudyInfo, row: TrialStatus) -> str:
    for series in results.trial_series(study, row.arm, row.seed):
        if series.metric == f"{row.stage}.val_top1":
            return f", validation {series.values_E[-1]:.1f} %"
    return ""


def _so_far(results: Results, study: StudyInfo) -> list[str]:
    """Return what the arms came to on the primary outcome, as far as seeds are complete."""
    found = results.means(study, study.primary)
    means = {arm.name: found[arm.name] for arm in study.arms if arm.name in found}
    if not means:
        return []
    scale = scale_for(study.metric(study.primary).unit, [mean for mean, _ in means.values()])
    arms = [f"{display(arm)} {scale.value(mean)} ({n})" for arm, (mean, n) in means.items()]
    more = f" and {len(arms) - ARMS_SHOWN} more arms" if len(arms) > ARMS_SHOWN else ""
    unit = f" ({scale.unit})" if scale.unit else ""
    return [f"{display(study.primary)}{unit} so far: {', '.join(arms[:ARMS_SHOWN])}{more}"]


def _bar(console: "Console", done: int, total: int, width: int = 24) -> str:
    full = round(width * done / total) if total else width
    if console.encoding.startswith("utf"):
        return "━" * full + "╌" * (width - full)
    return "#" * full + "-" * (width - full)


def _title(plan: Plan, stage: Stage) -> str:
    users = plan.users(stage.digest)
    arms = "+".join(dict.fromkeys(trial.arm for trial in users))
    replicate = f" #{stage.replicate}" if stage.replicate else ""
    return f"{arms}/{stage.seed} {stage.kind}{replicate}"
