"""`icckd run`: own the state folder, train, report; or do so in the background and watch."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from icckd.cli.progress import listener_for
from icckd.execution.local import LocalExecutor
from icckd.journal import requests
from icckd.journal.folder import StateFolder
from icckd.plan import Plan
from icckd.report import REPORTERS
from icckd.resources import cuda_device_names
from icckd.results.read import Results, open_results
from icckd.session.prepare import (
    Device,
    complete_stages,
    data_root,
    default_jobs,
    make_plan,
    with_more_seeds,
)
from icckd.session.record import Mission
from icckd.session.run import INTERRUPTED, Session, Stopping
from icckd.spec.load import load
from icckd.spec.study import Study
from icckd.store.lock import owner_lock
from icckd.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How seeds are added: `add` at a time, once, or until a goal holds or `most` are there."""

    add: int
    until: str | None = None
    most: int | None = None
    stop_hopeless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asked for."""

    study: Path
    overrides: tuple[str, ...]
    device: Device
    jobs: int | None
    force: bool
    growth: Growth | None = None
    asked: float = field(default_factory=time.time)


class Signals:
    """Counts Ctrl-C: the first lets running stages finish, the second stops now."""

    def __init__(self) -> None:
        self._count = 0
        signal.signal(signal.SIGINT, self._heard)
        signal.signal(signal.SIGTERM, self._heard)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            say("finishing the running stages; Ctrl-C again stops now")

    def stopping(self) -> Stopping:
        """Return what the signals so far ask for."""
        wishes: tuple[Stopping, ...] = ("", "finish", "kill")
        return wishes[min(self._count, 2)]


def run_here(wish: Wish) -> int:
    """Run a study in this process and print its report; return the exit code."""
    study = load(wish.study, wish.overrides)
    code = train(wish, study)
    print_table(study.study.name)
    return code


def print_table(name: str) -> None:
    """Print the report of a study that was run."""
    with open_results(StateFolder.current(), notice=say) as results:
        REPORTERS["table"](results, results.study(name), sys.stdout)


def train(wish: Wish, study: Study, *, stopped: Mapping[str, int] | None = None) -> int:
    """Run one session of a study in this process; return the exit code.

    Args:
        wish: How to run it.
        study: What to run; the file is not read again, it may change meanwhile.
        stopped: Arms that are given only so many of the first seeds.
    """
    plan = make_plan(study, device=wish.device, root=data_root(), stopped=stopped)
    folder = StateFolder.current()
    folder.create()
    with (
        owner_lock(folder, waiting=lambda: say("another run owns this state folder; waiting")),
        Store.open_file(folder, notice=say) as store,
    ):
        results = Results(store)
        return _train(folder, results, wish, (study, plan), stopped or {})


def _train(
    folder: StateFolder,
    results: Results,
    wish: Wish,
    planned: tuple[Study, Plan],
    stopped: Mapping[str, int],
) -> int:
    """Run sessions until the study has all the seeds that viewers asked for."""
    (study, plan), signals, force = planned, Signals(), wish.force
    while True:
        results.refresh()
        done = frozenset() if force else complete_stages(folder, results.complete_stages())
        mission = Mission(
            study=study,
            plan=plan,
            complete=done,
            arguments=sys.argv[1:],
            data_root=data_root(),
            asked=wish.asked,
            force=force,
            stopped=stopped,
        )
        code, session = run_session(folder, results, mission, wish, signals.stopping)
        if not session.more_seeds or code == INTERRUPTED:
            return code
        study, force = with_more_seeds(study, session.more_seeds), False
        plan = make_plan(study, device=wish.device, root=data_root(), stopped=stopped)


def run_session(
    folder: StateFolder,
    results: Results,
    mission: Mission,
    wish: Wish,
    stopping: Callable[[], Stopping],
) -> tuple[int, Session]:
    """Run a session to its end; return its exit code, and the session."""
    with listener_for(results, mission) as listener:
        executor = _executor(folder, mission.plan, wish)
        session = Session(folder, mission, executor, listener, stopping)
        return session.run(), session


def run_and_watch(wish: Wish) -> int:
    """Run a study in a session of its own and watch it; leaving asks what becomes of it."""
    from icckd_tui.app import run_watch
    from icckd_tui.terminal import need_screen

    need_screen()
    study = load(wish.study, wish.overrides)
    make_plan(study, device=wish.device, root=data_root())  # so that mistakes show here, at once
    folder = StateFolder.current()
    folder.create()
    name = study.study.name
    log = folder.sessions / f"{time.strftime('%Y%m%dT%H%M%S')}.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "icckd.cli.main", *_arguments(wish)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    answer = run_watch(folder, name, request_stop=lambda: _stop(folder, name))
    if child.poll() is None and answer != "stop":
        say(f"{name} goes on in the background; `icckd watch {name}` shows it, log: {log}")
        return 0
    if child.poll() is None:
        say("finishing the running stages")
    code = child.wait()
    with open_results(folder) as results:
        REPORTERS["table"](results, results.study(name), sys.stdout)
    return code


def _arguments(wish: Wish) -> list[str]:
    return [
        "run",
        str(wish.study),
        *wish.overrides,
        "--no-tui",
        f"--device={wish.device}",
        *([f"--jobs={wish.jobs}"] if wish.jobs else []),
        *(["--force"] if wish.force else []),
        *(_growth_arguments(wish.growth) if wish.growth else []),
    ]


def _growth_arguments(growth: Growth) -> list[str]:
    return [
        f"--add-seeds={growth.add}",
        *([f"--until={growth.until}"] if growth.until else []),
        *([f"--max-seeds={growth.most}"] if growth.most else []),
        *(["--stop-hopeless"] if growth.stop_hopeless else []),
    ]


def _stop(folder: StateFolder, study: str) -> None:
    requests.submit(folder, requests.Wanted(kind="stop", study=study))


def _executor(folder: StateFolder, plan: Plan, wish: Wish) -> LocalExecutor:
    numerics = next(iter(plan.stages.values())).numerics
    return LocalExecutor(
        capacity=wish.jobs or default_jobs(plan),
        device=numerics.device,
        gpus=cuda_device_names(),
        threads=numerics.threads,
        logs=folder.sessions,
    )


def say(text: str) -> None:
    """Tell the user something beside the output."""
    print(f"icckd: {text}", file=sys.stderr, flush=True)
