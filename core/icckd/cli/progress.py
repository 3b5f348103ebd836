"""What `icckd run` says while it works: one live line on a terminal, plain lines otherwise."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from icckd.plan import Plan, Stage
from icckd.report.text import display, duration
from icckd.results.read import Results
from icckd.session.record import Mission
from icckd.session.run import Listener
from icckd.session.schedule import Transition

TICK_SECONDS = 0.5


@contextlib.contextmanager
def listener_for(results: Results, mission: Mission) -> Iterator[Listener]:
    """Yield the listener that fits standard error."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(results, mission, console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield _Line(results, mission, console, live)


class _Lines:
    """A plain line for every stage that starts or ends."""

    def __init__(self, results: Results, mission: Mission, console: Console) -> None:
        self._results = results
        self._console = console
        self._plan = mission.plan
        self._started: dict[str, float] = {}
        self._left = sum(digest not in mission.complete for digest in mission.plan.stages)
        self._last_refresh = 0.0
        self._name = mission.study.study.name
        console.print(
            f"study {self._name}: {self._left} of {len(mission.plan.stages)} stages to train",
            markup=False,
        )

    def transition(self, change: Transition, stage: Stage) -> None:
        """Print the transition."""
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
        """Print what the user should know."""
        self._print(f"{time.strftime('%H:%M:%S')} {display(text)}")

    def tick(self) -> None:
        """Bring the store up to date now and then."""
        if time.monotonic() - self._last_refresh >= TICK_SECONDS:
            self._results.refresh()
            self._last_refresh = time.monotonic()
            self._refreshed()

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _refreshed(self) -> None:
        """Nothing more to say in plain lines."""


class _Line(_Lines):
    """One live line; only what went wrong stays on the screen."""

    def __init__(self, results: Results, mission: Mission, console: Console, live: Live) -> None:
        super().__init__(results, mission, console)
        self._live = live

    def transition(self, change: Transition, stage: Stage) -> None:
        """Print what went wrong."""
        if change.state in ("failed", "blocked") or change.reason:
            super().transition(change, stage)

    def _refreshed(self) -> None:
        study = self._results.study(self._name)
        progress = self._results.progress(study)
        running = [row for row in self._results.trials(study) if row.state == "running"]
        now = ", ".join(f"{r.arm}/{r.seed} {r.stage} {r.epoch}/{r.epochs}" for r in running[:3])
        states = progress.stages
        eta = "?" if progress.eta_seconds is None else duration(progress.eta_seconds)
        failed = f"  failed {states.failed}" if states.failed else ""
        bar = _bar(states.complete, states.total)
        self._live.update(
            Text(f"{bar} {states.complete}/{states.total} stages{failed}  ETA {eta}  {now}",
                 no_wrap=True, overflow="ellipsis"),
            refresh=True,
        )  # fmt: skip


def _bar(done: int, total: int, width: int = 24) -> str:
    full = round(width * done / total) if total else width
    if (sys.stderr.encoding or "").lower().startswith("utf"):
        return "━" * full + "╌" * (width - full)
    return "#" * full + "-" * (width - full)


def _title(plan: Plan, stage: Stage) -> str:
    users = plan.users(stage.digest)
    arms = "+".join(dict.fromkeys(trial.arm.name for trial in users))
    replicate = f" #{stage.replicate}" if stage.replicate else ""
    return f"{arms}/{stage.seed} {stage.kind}{replicate}"
