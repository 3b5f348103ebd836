"""What shows the progress of a session: plain lines, one live line on a terminal, or a notebook."""

import contextlib
import importlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from icckd.report.numbers import duration
from icckd.report.text import display
from icckd.results.query import Results
from icckd.results.types import StudyInfo
from icckd.run.schedule import Transition
from icckd.run.session import Listener, RunRequest
from icckd.study.plan import Plan
from icckd.study.records import Stage

TICK_SECONDS = 0.5
REFRESHES_APART = 50
"""Least time between two refreshes of the database, in times of what one takes."""
RUNNING_SHOWN = 3


@contextlib.contextmanager
def terminal_listener(results: Results, request: RunRequest) -> Iterator[Listener]:
    """Yield the listener that fits standard error."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield PlainLines(results, request, console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield LiveLine(results, request, console, live)


@contextlib.contextmanager
def notebook_listener(results: Results, request: RunRequest) -> Iterator[Listener]:
    """Yield a listener that shows a bar below the cell of a notebook that runs the study."""
    bar = NotebookBar(results, request)
    yield bar
    bar.show()


class PlainLines:
    """A plain line for every stage that starts or ends."""

    def __init__(self, results: Results, request: RunRequest, console: Console) -> None:
        self._results = results
        self._console = console
        self._plan = request.plan
        self._started: dict[str, float] = {}
        self._left = sum(digest not in request.complete for digest in request.plan.stages)
        self._next_refresh = 0.0
        self._name = request.study.study.name
        self._say_begin()

    def _say_begin(self) -> None:
        self._console.print(
            f"study {self._name}: {self._left} of {len(self._plan.stages)} stages to train",
            markup=False,
        )

    def transition(self, change: Transition, stage: Stage) -> None:
        """Print a line: state, stage, how long it took, how many are left, why."""
        now = time.monotonic()
        took = ""
        if change.state == "running":
            self._started[stage.digest] = now
        elif stage.digest in self._started:
            took = f" in {duration(now - self._started.pop(stage.digest))}"
        if change.state in ("complete", "failed", "blocked", "cancelled"):
            self._left -= 1
        reason = f": {display(change.reason)}" if change.reason else ""
        left = f" ({self._left} left)" if change.state != "running" else ""
        self._print(
            f"{time.strftime('%H:%M:%S')} {change.state:<9} {_title(self._plan, stage)}"
            f"{took}{left}{reason}"
        )

    def notice(self, text: str) -> None:
        self._print(f"{time.strftime('%H:%M:%S')} {display(text)}")

    def tick(self) -> None:
        """Bring the database up to date twice a second, or as often as costs 2 % of a core."""
        start = time.monotonic()
        if start >= self._next_refresh:
            self._results.refresh()
            self._after_refresh()
            end = time.monotonic()
            self._next_refresh = end + max(TICK_SECONDS, REFRESHES_APART * (end - start))

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _after_refresh(self) -> None:
        """For a subclass that shows more than what changed."""


class LiveLine(PlainLines):
    """One live line; only what went wrong stays on the screen."""

    def __init__(self, results: Results, request: RunRequest, console: Console, live: Live) -> None:
        super().__init__(results, request, console)
        self._live = live

    def transition(self, change: Transition, stage: Stage) -> None:
        if change.state in ("failed", "blocked") or change.reason:
            super().transition(change, stage)

    def _after_refresh(self) -> None:
        study = self._results.study(self._name)
        states, more = self._results.progress(study).stages, _more(self._results, study)
        bar = _bar(states.complete, states.total)
        self._live.update(
            Text(
                f"{bar} {states.complete}/{states.total} stages  {more}",
                no_wrap=True,
                overflow="ellipsis",
            ),
            refresh=True,
        )


class NotebookBar(PlainLines):
    """A progress bar below a cell; lines stay for what went wrong.

    The bar is a display of IPython that is updated in place, which any front end shows and a saved
    notebook keeps; the widgets that rich would use are not needed.
    """

    def __init__(self, results: Results, request: RunRequest) -> None:
        show = importlib.import_module("IPython.display").display  # there, in a notebook
        self._bar = Progress(
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
        super().__init__(results, request, Console(stderr=True, force_jupyter=False))

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
        study = self._results.study(self._name)
        states, more = self._results.progress(study).stages, _more(self._results, study)
        self._bar.update(
            self._task, completed=states.complete, total=states.total, more=f"  {more}"
        )
        self._handle.update(self._table())

    def _table(self) -> Any:
        return self._bar.make_tasks_table(self._bar.tasks)


def _more(results: Results, study: StudyInfo) -> str:
    """Return what failed, how long the rest should take, and what runs."""
    progress = results.progress(study)
    running = [row for row in results.trials(study) if row.state == "running"]
    now = ", ".join(
        f"{r.arm}/{r.seed} {r.stage} {r.epoch}/{r.epochs}" for r in running[:RUNNING_SHOWN]
    )
    failed = f"failed {progress.stages.failed}  " if progress.stages.failed else ""
    eta = "?" if progress.eta_seconds is None else duration(progress.eta_seconds)
    return f"{failed}ETA {eta}  {now}".rstrip()


def _bar(done: int, total: int, width: int = 24) -> str:
    full = round(width * done / total) if total else width
    if (sys.stderr.encoding or "").lower().startswith("utf"):
        return "━" * full + "╌" * (width - full)
    return "#" * full + "-" * (width - full)


def _title(plan: Plan, stage: Stage) -> str:
    users = plan.users(stage.digest)
    arms = "+".join(dict.fromkeys(trial.arm for trial in users))
    replicate = f" #{stage.replicate}" if stage.replicate else ""
    return f"{arms}/{stage.seed} {stage.kind}{replicate}"
