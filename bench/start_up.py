"""What a command costs before it does anything: `python bench/start_up.py [COMMIT] [--rounds N]`.

CPU seconds of `--help`, `status`, `sql`, `plan`, `report` and a `run` with nothing to do, on the
finished shipped study, of this checkout and, beside it, of COMMIT: a new process each, the two in
turn, in every round in the other order. `python -c "import typer"` and a bare interpreter stand
beside them for the floor. Without `--state` the shipped study is trained first, with one epoch a
stage; a folder that holds its results already spares that. Each of the two has a copy of its own,
which one uncounted round brings up to date. CPU seconds are those of the process and of all that
it started.

Then what a new worker costs: CPU and wall seconds of its first stage, a tiny teacher, less those of
its second, forked by a server that is there (the second worker of a session and all after it) and
started by itself, in turn. `--workers` measures that alone.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from same_bits import package_of
from timing import ratio, write_result

from icckd.journal.folder import StateFolder
from icckd.run.local import LocalExecutor
from icckd.run.messages import Order
from icckd.run.prepare import make_plan
from icckd.study.load import parse

ROOT = Path(__file__).parents[1]
STUDY = str(ROOT / "studies" / "ablations.toml")
NAME = "icc-ablations"
COMMANDS = {
    "icckd --help": ("--help",),
    "icckd status": ("status",),
    "icckd sql": ("sql", "select count(*) from trial"),
    "icckd plan": ("plan", STUDY, "--device", "cpu"),
    "icckd report": ("report", NAME),
    "icckd run, nothing to do": ("run", STUDY, "--device", "cpu"),
}
TINY = """
[study]
name = "tiny"
baseline = "full"
seeds = { count = 2 }
[data]
kind = "synthetic"
[teacher.training]
epochs = 1
[student.training]
epochs = 1
[[arm]]
name = "full"
"""
FLOOR = {"bare interpreter": "pass", "import typer": "import typer"}


@dataclass
class Checkout:
    """A version of icckd, and the state folder that it works on."""

    name: str
    folder: Path
    state: Path
    short: tuple[str, ...]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self, words: tuple[str, ...]) -> float:
        """Return the CPU seconds of one command."""
        settings = self.short if STUDY in words else ()
        paths = os.pathsep.join([str(self.folder / "core"), str(self.folder)])
        return cpu_seconds(
            [sys.executable, "-m", "icckd.cli.main", *words, *settings],
            {"PYTHONPATH": paths, "ICCKD_HOME": str(self.state)},
        )


def cpu_seconds(command: list[str], variables: dict[str, str]) -> float:
    """Return the CPU seconds of a process and of what it started and waited for."""
    process = subprocess.Popen(
        command, env={**os.environ, **variables}, cwd=tempfile.gettempdir(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    told = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{told}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", nargs="?", help="an earlier version, to set beside this one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--state", type=Path, help="a state folder with the whole shipped study")
    parser.add_argument("--workers", action="store_true", help="measure new workers alone")
    asked = parser.parse_args()
    if asked.workers:
        report([], {}, new_workers(asked.rounds))
        return
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        checkouts = [Checkout("now", ROOT, Path(scratch) / "now", ())]
        if asked.commit:
            package = stack.enter_context(package_of(asked.commit, Path(scratch) / "package"))
            state = Path(scratch) / "then"
            checkouts.append(Checkout(package.commit, package.folder, state, ()))
        if asked.state is None:
            short = ("teacher.training.epochs=1", "student.training.epochs=1")
            for each in checkouts:
                each.short = short
            checkouts[0].run(COMMANDS["icckd run, nothing to do"])
            for each in checkouts[1:]:
                shutil.copytree(checkouts[0].state, each.state)
        else:
            for each in checkouts:
                shutil.copytree(asked.state, each.state)
        report(checkouts, measure(checkouts, asked.rounds), new_workers(asked.rounds))


def measure(checkouts: list[Checkout], rounds: int) -> dict[str, list[float]]:
    """Fill in the seconds of each command under each checkout; return those of the floor."""
    floor: dict[str, list[float]] = {name: [] for name in FLOOR}
    for number in range(-1, rounds):  # the first round warms up
        for name, words in COMMANDS.items():
            for each in checkouts if number % 2 else checkouts[::-1]:
                seconds = each.run(words)
                if number >= 0:
                    each.seconds.setdefault(name, []).append(seconds)
        for name, code in FLOOR.items():
            seconds = cpu_seconds([sys.executable, "-c", code], {})
            if number >= 0:
                floor[name].append(seconds)
    return floor


def new_workers(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return CPU and wall seconds that being new costs a worker, by how it is started."""
    found: dict[str, list[tuple[float, float]]] = {"fork": [], "spawn": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = StateFolder(Path(scratch) / "state")
        folder.create()
        executors = {}
        for mode in found:
            os.environ["ICCKD_WORKERS"] = mode
            executors[mode] = LocalExecutor(
                capacity=1, device="cpu", gpus=(), threads=1, logs=folder.sessions
            )
            one_worker(executors[mode], folder, f"{mode}-first")  # brings the server up
        for number in range(rounds):
            for mode in found if number % 2 else reversed(found):
                os.environ["ICCKD_WORKERS"] = mode  # a server forks for its own environment alone
                name = f"{mode}-{number}"
                found[mode].append(one_worker(executors[mode], folder, name))
        for each in executors.values():
            each.kill()
    del os.environ["ICCKD_WORKERS"]
    return found


def one_worker(executor: LocalExecutor, folder: StateFolder, name: str) -> tuple[float, float]:
    """Return what the first stage of a new worker takes beyond its second; end the worker."""
    plan = make_plan(parse(TINY, where=name), device="cpu", root=folder.root)
    teachers = [stage for stage in plan.stages.values() if stage.kind == "teacher"]
    took = []
    for number, stage in enumerate(teachers):
        order = Order(
            attempt=f"{name}-{number}", session="s", state_folder=str(folder.root),
            data_root=str(folder.root), stage=stage, force=True,
        )  # fmt: skip
        wall, before = time.perf_counter(), sum(cpu for cpu, _ in took)
        executor.submit([order])
        while not any(report.what == "ended" for report in executor.wait(1.0)):
            pass
        [worker] = executor._workers.values()
        used = psutil.Process(worker.process.pid).cpu_times()
        took.append((used.user + used.system - before, time.perf_counter() - wall))
    executor.retire()
    while executor._workers:
        executor.wait(1.0)
    return took[0][0] - took[1][0], took[0][1] - took[1][1]


def report(
    checkouts: list[Checkout],
    floor: dict[str, list[float]],
    workers: dict[str, list[tuple[float, float]]],
) -> None:
    """Write the tables: medians over the rounds, and the median of the ratios."""
    rounds = len(workers["fork"])
    lines = [] if not checkouts else commands_table(checkouts, floor)
    lines += [
        "",
        "What being new costs a worker: its first tiny stage less its second, medians of"
        f" {rounds} in turn; load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores.",
        "",
        "| | CPU seconds | wall seconds |",
        "| --- | ---: | ---: |",
    ]
    for mode, name in (("fork", "forked by a server"), ("spawn", "started by itself")):
        cpu, wall = (statistics.median(each) for each in zip(*workers[mode], strict=True))
        lines.append(f"| {name} | {cpu:.3f} | {wall:.3f} |")
    write_result("start-up", lines)


def commands_table(checkouts: list[Checkout], floor: dict[str, list[float]]) -> list[str]:
    """Return the table of commands."""
    now, *then = checkouts
    rounds = len(next(iter(floor.values())))
    rows = []
    for name in COMMANDS:
        cells = [f"{statistics.median(now.seconds[name]):.2f}"]
        for each in then:
            both = {"now": now.seconds[name], "then": each.seconds[name]}
            cells += [f"{statistics.median(both['then']):.2f}", f"{ratio(both, 'now', 'then'):.2f}"]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    heads = ["now", *(head for each in then for head in (each.name, "ratio"))]
    return [
            f"CPU seconds of a new process and of what it starts, medians of {rounds} rounds in"
            " turn, on the finished shipped study; load average"
            f" {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores.",
            "",
            f"| | {' | '.join(heads)} |",
            f"| --- |{' ---: |' * len(heads)}",
            *rows,
            *(f"| {name} | {statistics.median(floor[name]):.2f} |{' |' * (len(heads) - 1)}"
              for name in FLOOR),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
