"""`icckd run`: own the state folder, train what is missing, print the report.

Or, with a screen, do so in a background process and watch it. `--add-seeds` and `--until` run one
session after another, each with more seeds.
"""

import contextlib
import math
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from icckd.api import running
from icckd.api.running import TrainOptions, plan_to_run, settled
from icckd.api.signals import Signals
from icckd.cli import streams, take_ctrl_c
from icckd.cli.common import tell_next, write_new
from icckd.cli.importing import load_to_run
from icckd.configuration import configuration
from icckd.errors import GateError, Interrupted, UsageError
from icckd.journal import requests
from icckd.journal.folder import StateFolder
from icckd.report.formats import write_report
from icckd.report.summary import next_commands, write_summary
from icckd.report.text import display
from icckd.resources.processes import own_environment, python
from icckd.results.query import Results, open_results
from icckd.results.seeds import (
    Condition,
    Goal,
    hopeless_arms,
    not_known,
    parse,
    same_study,
    seeds_missing,
    study_as_planned,
)
from icckd.results.types import Comparison, StudyInfo
from icckd.run.executors import ExecutorContext, find_executor
from icckd.run.messages import Order
from icckd.run.prepare import complete_stages, data_root, with_more_seeds
from icckd.run.schedule import Schedule
from icckd.run.session import INTERRUPTED, Listener, RunRequest, Stopping
from icckd.stats.two_stage import LEAST_EXTENSION
from icckd.study.arms import expand
from icckd.study.load import swept_tables
from icckd.study.metrics import of_a_process
from icckd.study.model import Study
from icckd.study.plan import StageJob
from icckd.study.sweep import study_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedSeeds:
    """How seeds are added.

    Attributes:
        step: Seeds to add at a time.
        until: Condition at which no more are added; None adds them once.
        most: Greatest number of seeds, with a condition.
        stop_hopeless: Whether arms that are surely worse than the baseline get no more.
    """

    step: int
    until: str | None = None
    most: int | None = None
    stop_hopeless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(TrainOptions):
    """What the command line asked for."""

    study: Path
    overrides: tuple[str, ...]
    sweeps: tuple[str, ...] = ()
    yes: bool = False
    added_seeds: AddedSeeds | None = None


def run_here(options: RunOptions) -> int:
    """Run a study in this process and print its report; return the exit code."""
    if options.sweeps:
        confirm_sweep(options)
    if options.added_seeds is not None:
        return run_with_added_seeds(options, options.added_seeds)
    study = load_to_run(options.study, options.overrides, options.sweeps)
    code = train(settled(options, StateFolder.current(), say), study)
    print_summary(options, study.study.name)
    return code


def print_scripts(options: RunOptions) -> None:
    """Print what an executor would submit first; nothing where it submits nothing."""
    kind = find_executor(options.executor or configuration(StateFolder.current().root).executor)
    if not hasattr(kind, "preview"):
        return
    folder = StateFolder.current()
    options = settled(options, folder, say)
    study = load_to_run(options.study, options.overrides, options.sweeps)
    plan = plan_to_run(options, study, folder, say)
    done: frozenset[str] = frozenset()
    if folder.exists():
        with open_results(folder, notice=say) as results:
            done = complete_stages(folder, results.complete_stages())
    executor = kind.for_session(
        ExecutorContext(folder=folder, plan=plan, jobs=options.jobs, notice=say)
    )
    first = options.first or configuration(folder.root).first
    schedule, lists = Schedule(plan, done, first=first), []
    while stages := schedule.next_list(executor.capacity):
        lists.append([order_for(stage, folder) for stage in stages])
    later = len(plan.stages) - len(done) - sum(map(len, lists))
    for script in executor.preview(lists):  # type: ignore[attr-defined]  # that was looked at
        print(script)
    say(f"nothing was submitted; {later} further stages follow when what they read is complete")


def order_for(stage: StageJob, folder: StateFolder) -> Order:
    """Return an order that nobody carries out."""
    return Order(
        attempt=stage.digest,
        session="",
        state_folder=str(folder.root),
        data_root=str(data_root()),
        stage=stage,
    )


MOST_UNASKED = 200
"""Trials of a sweep that are trained without a question."""


def confirm_sweep(options: RunOptions) -> None:
    """Ask whether a large sweep is meant.

    Raises:
        UsageError: It is not, or nobody can be asked and --yes is not given.
    """
    study = load_to_run(options.study, options.overrides, options.sweeps)
    trials = len(expand(study).trials)
    if options.yes or trials <= MOST_UNASKED:
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        take_ctrl_c()
        if typer.confirm(f"The sweep has {trials} trials. Train them all?", err=True):
            return
        say("nothing was trained; icckd plan shows what they take")
        raise typer.Exit(UsageError.exit_code)
    raise UsageError(
        f"the sweep has {trials} trials, more than {MOST_UNASKED}",
        hint="icckd plan shows what they take; --yes trains them",
    )


def write_sweep(options: RunOptions, file: Path) -> None:
    """Write the study that sweeps make as a file, `-` prints it.

    Raises:
        UsageError: It is there already, or cannot be written.
    """
    tables = swept_tables(options.study, options.overrides, options.sweeps)
    words = [str(options.study), *options.overrides]
    words += [word for sweep in options.sweeps for word in ("--sweep", sweep)]
    text = study_toml(tables, [f"Made by: icckd run {display(shlex.join(words), 1000)}"])
    if file.name == "-":
        sys.stdout.write(text)
        return
    write_new(file, text)
    say(f"wrote {file}")
    tell_next([(f"icckd run {shlex.quote(str(file))}", "trains it")])


def run_and_watch(options: RunOptions) -> int:
    """Run a study in a session of its own and watch it; leaving asks what becomes of it."""
    from icckd_tui.terminal import need_screen

    need_screen()
    if options.sweeps:
        confirm_sweep(options)
    study, options = (
        load_to_run(options.study, options.overrides, options.sweeps),
        settled(options, StateFolder.current(), say),
    )
    find_executor(options.executor)
    folder = StateFolder.current()
    folder.create()
    name = study.study.name
    log = folder.sessions / f"{time.strftime('%Y%m%dT%H%M%S')}.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            python("icckd.cli.main", *_arguments(options)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=own_environment(),
            start_new_session=True,
        )
    try:
        plan_to_run(options, study, folder, say)  # shows mistakes here, while the session starts
    except BaseException:
        child.terminate()  # it meets the same mistake
        child.wait()
        raise
    from icckd_tui.app import run_watch

    answer = run_watch(folder, name, request_stop=lambda: _request_stop(folder, name))
    if child.poll() is None and answer != "stop":
        say(f"{name} continues in the background; `icckd watch {name}` shows it, log: {log}")
        return 0
    if child.poll() is None:
        say("finishing the running stages")
    code = child.wait()
    print_summary(options, name)
    return code


def _arguments(options: RunOptions) -> list[str]:
    added = options.added_seeds
    return [
        "run",
        str(options.study),
        *options.overrides,
        *(f"--sweep={sweep}" for sweep in options.sweeps),
        *(["--yes"] if options.sweeps else []),
        "--no-tui",
        f"--device={options.device}",
        f"--executor={options.executor}",
        *([f"--address={options.address}"] if options.address else []),
        *([f"--jobs={options.jobs}"] if options.jobs else []),
        *(["--force"] if options.force else []),
        *(["--retrain-mixed"] if options.retrain_mixed else []),
        f"--grace={options.grace:g}",
        *(["--accept-code"] if options.accept_code else []),
        *(["--bound-only"] if options.bound_only else []),
        *(["--take-over"] if options.take_over else []),
        *([f"--first={options.first}"] if options.first else []),
        *([f"--mix={options.mix}"] if options.mix else []),
        *(_added_seeds_arguments(added) if added else []),
    ]


def _added_seeds_arguments(added: AddedSeeds) -> list[str]:
    return [
        f"--add-seeds={added.step}",
        *([f"--until={added.until}"] if added.until else []),
        *([f"--max-seeds={added.most}"] if added.most else []),
        *(["--stop-hopeless"] if added.stop_hopeless else []),
    ]


def _request_stop(folder: StateFolder, study: str) -> None:
    requests.submit(folder, requests.Wanted(kind="stop", study=study))


def train(options: RunOptions, study: Study, *, stopped: Mapping[str, int] | None = None) -> int:
    """Run sessions until the study has all the seeds that viewers asked for.

    Args:
        options: How to run it.
        study: What to run; the file is not read again, it may change meanwhile.
        stopped: Arms that are given only so many of the first seeds.

    Returns:
        The exit code.
    """
    host = CommandHost()
    code = running.train(
        options,
        study,
        host,
        folder=StateFolder.current(),
        arguments=sys.argv[1:],
        stopped=stopped,
    )
    if code == INTERRUPTED and host.is_urgent:
        raise interrupted()  # without a report, which may take longer than there is
    return code


class CommandHost:
    """A command that has a study run: notices and progress go to standard error."""

    def __init__(self) -> None:
        self._signals: Signals | None = None

    def say(self, text: str) -> None:
        say(text)

    def begin(self) -> None:
        self._signals = Signals(say)

    @property
    def is_urgent(self) -> bool:
        """Whether the session was to leave before its stages were finished."""
        return self._signals is not None and self._signals.is_urgent

    def stopping(self) -> Stopping:
        return "" if self._signals is None else self._signals.stopping()

    def listener(
        self, results: Results, request: RunRequest
    ) -> contextlib.AbstractContextManager[Listener]:
        from icckd.api.progress import terminal_listener  # with Rich, which plan needs not

        return terminal_listener(results, request)


def interrupted() -> Interrupted:
    """Return the error that ends a command which a signal interrupted."""
    command = display(shlex.join(["icckd", *sys.argv[1:]]))
    return Interrupted("interrupted", hint=f"the same command resumes where it stopped: {command}")


def print_summary(options: "RunOptions", name: str) -> None:
    """Print what a study came to in about ten lines, and how to go on."""
    with open_results(StateFolder.current(), notice=say) as results:
        study = results.study(name)
        _print(lambda: write_summary(results, study, sys.stdout))
        run = [str(options.study), *(o for o in options.overrides if not o.startswith(_SEEDS))]
        run += [word for sweep in options.sweeps for word in ("--sweep", sweep)]
        commands = next_commands(results, study, run)
        is_complete = study.is_complete
    if is_complete:
        say("every planned trial is complete")
    tell_next(commands)


def print_table(name: str) -> None:
    """Print the report of a study."""
    with open_results(StateFolder.current(), notice=say) as results:
        _print(lambda: write_report(results, results.study(name), "table", sys.stdout))


def _print(write: Callable[[], None]) -> None:
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads it: what the study came to is the exit code
        streams.discard_output()


_SEEDS = "study.seeds."


def say(text: str) -> None:
    """Print a notice beside the output."""
    print(f"icckd: {text}", file=sys.stderr, flush=True)


# `--add-seeds` and `--until`: session after session, each with more seeds.
#
# `--until decided` takes the one extension that a study declares, as large as its first look
# advises. Other goals are looked at as often as they take: `--until` declares the rule for that
# (`study.sequential.always`) in the study that it runs, before the first seed is trained.

_ALWAYS = "study.sequential.always=true"


def run_with_added_seeds(options: RunOptions, added: AddedSeeds) -> int:
    """Run a study with more seeds, once or until its goal holds; return the exit code.

    Raises:
        UsageError: The goal is not a condition, or takes more seeds than allowed.
        GateError: The goal does not hold with the seeds allowed, or by an estimate will not.
    """
    if added.until is not None and (added.most is None or options.force):
        raise UsageError("--until needs --max-seeds, and no --force", hint="--max-seeds 20")
    study = load_to_run(options.study, options.overrides, options.sweeps)
    by_extension = added.until is not None and _takes_extension(study, added.until)
    if added.until is not None and not by_extension and _ALWAYS not in options.overrides:
        options = replace(options, overrides=(*options.overrides, _ALWAYS))
        study = load_to_run(options.study, options.overrides, options.sweeps)
    options = settled(options, StateFolder.current(), say)
    count, stopped = _seeds_run(study)
    if added.until is None:
        ran = count or study.study.seeds.count
        say_looks(study, added.step)
        code = train(options, _with_seeds(study, ran + added.step), stopped=stopped)
        print_summary(options, study.study.name)
        return code
    count = max(count, study.study.seeds.count)
    run = _run_extension if by_extension else _run_until
    return run(options, added, study, count, stopped)


def _takes_extension(study: Study, until: str) -> bool:
    """Whether a goal is reached by the study's one extension."""
    header = study.study
    if until.strip() != "decided" or header.extension != "one" or header.sequential.always:
        return False
    earlier = _earlier(study)
    if earlier is None:
        return True
    info, results = earlier
    results.close()
    return info.rule != ""


def say_looks(study: Study, count: int) -> None:
    """Say by which rule seeds count that are added to a study now."""
    earlier = _earlier(study)
    if earlier is None:
        return
    info, results = earlier
    with results:
        has_results = any(row.n for row in results.comparisons(info))
    if not has_results or info.rule == "" or info.is_sequential:
        return
    if info.looks == "first look":
        few = f"; fewer than {LEAST_EXTENSION} decide nothing" if count < LEAST_EXTENSION else ""
        say(f"the study's one extension: {count} more{few}")
    else:
        say("results of all declared seeds were seen: from here on the rule for looks without end")


def _run_extension(
    options: RunOptions,
    added: AddedSeeds,
    study: Study,
    count: int,
    stopped: Mapping[str, int],
) -> int:
    """Run a study, and extend it once by what its first look advises where it is undecided."""
    most = added.most or count
    goal = _goal(study, added.until or "")
    code, is_decided, info, rows = _decided(options, study, min(count, most), goal, stopped)
    if code in (0, 1) and not is_decided and info.looks == "first look":
        size = _extension(rows, most - count)
        say(f"continuing with {count + size} seeds: the study's one extension")
        code, is_decided, info, rows = _decided(options, study, count + size, goal, stopped)
    print_summary(options, study.study.name)
    if code in (0, 1) and not is_decided:
        raise GateError(
            f"{goal.text!r} does not hold after the study's one extension",
            hint="--add-seeds continues by the rule for looks without end",
        )
    return code


def _decided(
    options: RunOptions, study: Study, count: int, goal: Goal, stopped: Mapping[str, int]
) -> tuple[int, bool, StudyInfo, tuple[Comparison, ...]]:
    """Train so many seeds; return the exit code, whether all is decided, and the results."""
    code = train(options, _with_seeds(study, count), stopped=stopped)
    with open_results(StateFolder.current(), notice=say) as results:
        info = results.study(study.study.name)
        rows = results.comparisons(info)
    return code, goal.holds(info, rows), info, rows


def _extension(rows: Sequence[Comparison], allowed: int) -> int:
    """Return the seeds that an extension gets: what the first look advises, or what is allowed.

    Raises:
        GateError: Nothing can be advised, or it takes more than allowed.
    """
    open_rows = [row for row in rows if row.verdict == "undecided"]
    least = [row.more_seeds_least for row in open_rows if row.more_seeds_least is not None]
    most = [row.more_seeds for row in open_rows if row.more_seeds is not None]
    if len(most) < len(open_rows) or not most:
        raise GateError(
            "'decided' cannot be reached: how many more seeds it takes is not known",
            hint="`icckd report` says why",
        )
    if allowed < max(least):
        raise GateError(
            f"'decided' takes {max(least)} to {max(most)} more seeds, and {max(allowed, 0)} are"
            " allowed",
            hint="raise --max-seeds",
        )
    return min(max(most), allowed)


def _run_until(
    options: RunOptions, added: AddedSeeds, study: Study, count: int, stopped: Mapping[str, int]
) -> int:
    most = added.most or count
    count = min(count, most)
    goal = _goal(study, added.until or "")
    if out_of_reach := _out_of_reach(study, goal, most, stopped):
        raise UsageError(out_of_reach, hint="raise --max-seeds or the target; or use --add-seeds")
    while True:
        code = train(options, _with_seeds(study, count), stopped=stopped)
        if code not in (0, 1):
            print_summary(options, study.study.name)
            return code
        try:
            holds, stopped = _check_goal(study, goal, added, count, stopped)
        except GateError:
            print_summary(options, study.study.name)
            raise
        if holds or count >= most:
            break
        if out_of_reach := _out_of_reach(study, goal, most, stopped):
            print_summary(options, study.study.name)
            raise GateError(out_of_reach, hint="raise --max-seeds or the target")
        count = min(count + added.step, most)
        say(f"continuing with {count} seeds")
    print_summary(options, study.study.name)
    if not holds:
        raise GateError(f"{goal.text!r} does not hold with the {most} seeds allowed")
    return code


def _goal(study: Study, text: str) -> Goal:
    info = study_as_planned(study)
    condition: Condition | None = None
    if text.strip() != "decided":
        condition = parse(text, info)
        if condition.quantity != "halfwidth" or condition.sign not in ("<", "<="):
            raise UsageError(
                f"--until {text!r}: seeds are added for precision or until verdicts are there",
                hint="'halfwidth(student.top1) < 0.3', or: decided",
            )
    elif any(asked.smallest_effect is None for asked in info.questions):
        raise UsageError(
            "--until decided needs study.smallest_effect: no difference would never be decided",
            hint="declare the smallest difference that matters",
        )
    return Goal(text=text.strip(), condition=condition)


def _check_goal(
    study: Study, goal: Goal, added: AddedSeeds, count: int, stopped: Mapping[str, int]
) -> tuple[bool, Mapping[str, int]]:
    """Return whether the goal holds, and the arms that are given no more seeds from here on."""
    with open_results(StateFolder.current(), notice=say) as results:
        info = results.study(study.study.name)
        rows = results.comparisons(info)
    if not info.is_complete:
        raise GateError(not_known([goal.text], info))
    asked = goal.condition.metric if goal.condition else info.primary
    if of_a_process(asked) and not any(row.n for row in rows if row.metric == asked):
        raise GateError(
            f"{asked} has no value here, so that no number of seeds reaches {goal.text!r}",
            hint='stages in packs have no times and no memory: numerics.packing = "off"',
        )
    if added.stop_hopeless:
        hopeless = [arm for arm in hopeless_arms(info, rows) if arm not in stopped]
        for arm in hopeless:
            say(f"{arm} is worse than {info.baseline} beyond doubt: no more seeds for it")
        stopped = {**stopped, **dict.fromkeys(hopeless, count)}
    return goal.holds(replace(info, stopped=stopped), rows), stopped


def _out_of_reach(study: Study, goal: Goal, most: int, stopped: Mapping[str, int]) -> str:
    """Return why a goal takes more seeds than allowed, at the spread seen so far, or ""."""
    earlier = _earlier(study)
    if earlier is None:
        return ""
    info, results = earlier
    with results:
        rows = results.comparisons(info)
    need = seeds_missing(replace(info, stopped=stopped), goal, rows)
    if need is None or need.sequential <= most:
        return ""
    takes = "more than 100,000" if math.isinf(need.sequential) else f"about {need.sequential:.0f}"
    fixed = "" if math.isinf(need.fixed) else f" ({need.fixed:.0f} if fixed before the first)"
    return (
        f"{goal.text!r} takes {takes} seeds{fixed} at the spread of {need.spread:.3g} seen so far;"
        f" --max-seeds is {most}"
    )


def _earlier(study: Study) -> tuple[StudyInfo, Results] | None:
    """Return the newest session's plan of this study, whatever its seeds, with open results."""
    folder = StateFolder.current()
    if not folder.exists():
        return None
    results = open_results(folder, notice=say)
    if any(info.name == study.study.name for info in results.studies()):
        for info in results.revisions(study.study.name):
            if same_study(info, study):
                return info, results
    results.close()
    return None


def _seeds_run(study: Study) -> tuple[int, Mapping[str, int]]:
    """Return how many seeds the newest session planned, and the arms it had stopped."""
    earlier = _earlier(study)
    if earlier is None:
        return 0, {}
    info, results = earlier
    results.close()
    first = study.study.seeds.first
    return (len(info.seeds), info.stopped) if info.seeds[:1] == (first,) else (0, {})


def _with_seeds(study: Study, count: int) -> Study:
    return with_more_seeds(study, count - study.study.seeds.count)
