"""How costs grow: `python bench/growth.py AXIS [SIZE ...]`.

Axes: `arms` and `seeds` (of trials), `plans` (before anything is trained), `attempts` (of another
study in the same state folder), `session` (of so many stages: its memory), `viewers`, `monitor`,
`images`, `classes`, `cache`. Results of all but the last three are synthetic: see `made_state.py`.
These train epochs of the shipped study's teacher on synthetic images.
`python bench/growth.py made FOLDER ...` takes folders that `made_state.py` made before.
`python bench/growth.py beside COMMIT ARMS SEEDS EPOCHS` sets what a user waits for beside an
earlier version, the two in turn.

All costs but memory are CPU seconds, of commands those of a process of their own. The exponent says
how a cost grows between the last two sizes: 0 stays, 1 is a straight line, 2 a square.
"""

import gc
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from made_state import MadeExecutor, MadeSession, make, no_disk, request, study_text
from monitor import WATCH, Terminal
from same_bits import package_of
from timing import interleaved, ratio, write_result

from icckd.api import progress
from icckd.api.running import own_results
from icckd.cli import OBJECTS
from icckd.journal.events import AttemptHeader, EpochMetrics
from icckd.journal.file import JournalWriter, first_line
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.owner import owner_lock
from icckd.run.session import Session
from icckd.study.plan import StageJob

Costs = Mapping[str, float | None]
"""CPU seconds by what was done; None where it was not."""
SEEDS, ARMS, METRICS = 8, 7, 8
MOST_SEEDS = 10_000
"""Of a study."""
LOOKS = 10


HERE = Path(__file__).parents[1]


def command(root: Path, *arguments: str, code: Path = HERE) -> float:
    """Return the CPU seconds of a command of icckd on a state folder."""
    paths = os.pathsep.join([str(code / "core"), str(code)])
    more = {"ICCKD_HOME": str(root), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    environment = {**os.environ, **more}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "icckd.cli.main", *arguments],
        env=environment, check=True, capture_output=True, cwd=root,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def child(*arguments: object) -> dict[str, float]:
    """Return what this script prints when it is started with these arguments."""
    told = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def commands(folder: StateFolder, study: str = "made") -> Costs:
    """Return what a user waits for on a state folder, and what a monitor takes on it."""
    first = {}
    if not folder.database.exists():
        first["report, first"] = command(folder.root, "report", study)
    return {
        **first,
        "report, again": command(folder.root, "report", study),
        "status": command(folder.root, "status", study),
        "sql": command(folder.root, "sql", "select count(*) from trial"),
        **child("looks", folder.root, study),
    }


def looks(root: str, study: str) -> Costs:
    """Return what a look costs when nothing is new, and when an epoch of one stage is."""
    from icckd.results.query import open_results
    from icckd_tui.feed import Feed, source_in

    folder = StateFolder(Path(root))
    header = first_line(next(folder.attempts.iterdir()) / JOURNAL)
    assert header is not None
    name = f"growing-{os.getpid()}"
    (folder.attempts / name).mkdir()
    feed = Feed(source_in(folder), study, lambda update: None)
    idle, growing, frames = [], [], []
    with (
        JournalWriter(folder.attempts / name / JOURNAL) as journal,
        open_results(folder) as results,
    ):
        journal.append(AttemptHeader.model_validate({**header.body, "attempt": name}))
        results.refresh()
        feed._frame(results)
        for epoch in range(1, LOOKS + 1):
            idle.append(_seconds(results.refresh))
            values = {f"{header.body['kind']}.ce": 1.0 / epoch}
            journal.append(EpochMetrics(epoch=epoch, values=values))
            growing.append(_seconds(results.refresh))
            frames.append(_seconds(lambda: feed._frame(results)))
    shutil.rmtree(folder.attempts / name)
    return {
        "a look, nothing new": statistics.median(idle),
        "a look, an epoch more": statistics.median(growing),
        "the monitor's reading then": statistics.median(frames),
    }


def _seconds(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


def made(folders: Sequence[str]) -> dict[int, Costs]:
    """Trials in folders that `made_state.py` made; a first report where there is no database."""
    found = {}
    for folder in map(StateFolder, map(Path, folders)):
        trials = sum(1 for _ in folder.attempts.iterdir()) // 2
        found[trials] = commands(folder)
    return found


def arms(size: int) -> Costs:
    """Trials by arms: `size` of them, under eight seeds each."""
    return _made(max(2, size // SEEDS), SEEDS)


def seeds(size: int) -> Costs:
    """Trials by seeds: `size` of them, of seven arms, or as many as the most seeds allow."""
    arms = max(ARMS, -(-size // MOST_SEEDS))
    return _made(arms, max(2, size // arms))


def _made(arms: int, seeds: int) -> Costs:
    with tempfile.TemporaryDirectory() as home:
        start = time.process_time()
        folder = make(Path(home), arms=arms, seeds=seeds)
        made = time.process_time() - start
        os.sync()
        return {**commands(folder), "(making the folder)": made}


def plans(size: int) -> Costs:
    """Plans of so many trials: ten arms of many seeds, and many arms of a hundred seeds."""
    with tempfile.TemporaryDirectory() as home:
        found: dict[str, float | None] = {}
        for what, arms in (("ten arms", PLANNED_ARMS), ("100 seeds", max(2, size // 100))):
            text = study_text(arms, size // arms, 3)
            file = Path(home) / f"{arms}.toml"
            file.write_text(text)
            seconds, megabytes = _planned(Path(home), file)
            found |= {f"plan, {what}": seconds, f"plan, {what}, peak MB": megabytes}
        return {**found, **child("deciding", size)}


def _planned(root: Path, study: Path) -> tuple[float, float]:
    """Return CPU seconds and peak memory in MB of `icckd plan`."""
    paths = os.pathsep.join([str(HERE / "core"), str(HERE)])
    words = [sys.executable, "-m", "icckd.cli.main", "plan", str(study), "--device", "cpu"]
    environment = {**os.environ, "ICCKD_HOME": str(root / "state"), "PYTHONPATH": paths}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, cwd=root)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def deciding(size: str) -> Costs:
    """Return the CPU seconds of a decision what starts next, of 1,000, and of making a schedule."""
    from icckd.run.schedule import Schedule

    plan = request(PLANNED_ARMS, int(size) // PLANNED_ARMS, 3).plan
    start = time.process_time()
    schedule = Schedule(plan, frozenset())
    made, start, decided = time.process_time() - start, time.process_time(), 0
    while decided < DECISIONS and (taken := schedule.next_list(2)):
        for stage in taken:
            schedule.completed(stage.digest)
        decided += len(taken)
    a_decision = (time.process_time() - start) / decided
    return {"making the schedule": made, "a decision of it": a_decision}


PLANNED_ARMS, DECISIONS = 10, 1_000


def attempts(size: int) -> Costs:
    """Attempts of another study beside eight trials."""
    with tempfile.TemporaryDirectory() as home:
        make(Path(home), arms=ARMS, seeds=max(1, size // (2 * ARMS)), name="other")
        folder = make(Path(home), arms=2, seeds=4)
        os.sync()
        return commands(folder)


def session(size: int) -> Costs:
    """A session of so many stages: the memory that it has at its end."""
    return child("whole-session", size)


def whole_session(stages: str) -> Costs:
    """Hold a session whose stages are drawn, with its lines; return what it takes at its end.

    It looks at what ended after each round of its executor, which are some fifty stages. A session
    that trains waits until looking is cheap.
    """
    gc.set_threshold(OBJECTS)  # as the command does
    progress.TICK_SECONDS, progress.REFRESHES_APART, progress.LOOKS_APART = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as home, no_disk():
        folder = StateFolder(Path(home))
        wanted = request(PLANNED_ARMS, int(stages) // (2 * PLANNED_ARMS), 3)
        with own_results(folder, print) as results:
            lines = progress.PlainLines(results, wanted, lambda text: None)
            before = _memory("VmRSS")
            code = Session(folder, wanted, MadeExecutor(folder), lines, lambda: "").run()
            assert code == 0
            now, most = _memory("VmRSS"), _memory("VmHWM")
            [(buffers,)] = results._store.select(BUFFERS)
            return {
                "before the first stage, MB": before,
                "at the end, MB": now,
                "most of all, MB": most,
                "DuckDB's buffers at the end, MB": float(buffers),
                "Python's blocks at the end, thousands": sys.getallocatedblocks() / 1000,
            }


BUFFERS = "select sum(memory_usage_bytes) / 1e6 from duckdb_memory()"


def _memory(what: str) -> float:
    """Return memory of this process in MB, as /proc names it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


SECONDS, RATE = 12.0, 8.0  # of a run that viewers watch; epochs that it ends in a second


def viewers(size: int) -> Costs:
    """Viewers beside a run that ends eight epochs a second, a hundred trials being done."""
    with tempfile.TemporaryDirectory() as home, no_disk():
        folder = StateFolder(Path(home))
        session = MadeSession(folder, request(ARMS, 40, 6))
        waiting = iter(session.plan.stages.values())
        for _ in range(200):
            session.attempt(next(waiting))
        with owner_lock(folder):
            watching = [
                subprocess.Popen(
                    [sys.executable, __file__, "watching", home], stdout=subprocess.PIPE, text=True
                )
                for _ in range(size)
            ]
            for viewer in watching:
                assert viewer.stdout is not None
                viewer.stdout.readline()
            start, used, lines = time.monotonic(), time.process_time(), 0
            _, steps = session.begin(next(waiting))
            while time.monotonic() < start + SECONDS:
                time.sleep(1 / RATE)
                if next(steps, "over") == "over":
                    _, steps = session.begin(next(waiting))
                lines += 1
            used = time.process_time() - used
            shares = [float(viewer.communicate()[0].split()[-1]) for viewer in watching]
    return {
        "a viewer, share of a core": statistics.fmean(shares) if shares else None,
        "the run, CPU seconds an epoch": used / lines,
    }


def watching(root: str) -> None:
    """Read as the monitor does, for a while; print the share of a core that it took."""
    from icckd_tui.feed import Feed, source_in

    feed = Feed(source_in(StateFolder(Path(root))), None, lambda update: told.append(update))
    told: list[object] = []
    feed.start()
    while not told:
        time.sleep(0.05)
    print("reading", flush=True)
    start, used = time.monotonic(), time.process_time()
    time.sleep(SECONDS)
    print((time.process_time() - used) / (time.monotonic() - start))
    feed.stop()


def monitor(size: int) -> Costs:
    """`icckd watch` on a terminal, beside a run as for viewers, so many attempts being done."""
    with tempfile.TemporaryDirectory() as home, no_disk():
        folder = StateFolder(Path(home))
        session = MadeSession(folder, request(ARMS, 20 + size // (2 * ARMS), 20))
        waiting = iter(session.plan.stages.values())
        for _ in range(size):
            session.attempt(next(waiting))
        with owner_lock(folder):
            terminal = Terminal(WATCH, (160, 45), ICCKD_HOME=home)
            reading = threading.Thread(target=terminal.drain, daemon=True)
            reading.start()
            _run(session, waiting, SECONDS)  # what is read first, and drawn first, does not count
            start, used = time.monotonic(), terminal.cpu()
            _run(session, waiting, 2 * SECONDS)
            share = (terminal.cpu() - used) / (time.monotonic() - start)
            terminal.process.terminate()
            reading.join()
    return {"icckd watch, share of a core": share}


def _run(session: MadeSession, waiting: Iterator[StageJob], seconds: float) -> None:
    """End eight epochs a second, for a while."""
    end = time.monotonic() + seconds
    _, steps = session.begin(next(waiting))
    while time.monotonic() < end:
        time.sleep(1 / RATE)
        if next(steps, "over") == "over":
            _, steps = session.begin(next(waiting))


TRAINED = """
[study]
name = "grown"
baseline = "full"
seeds = {{ count = 1 }}
[data]
kind = "synthetic"
train = {images}
classes = {classes}
subclasses = 1
[teacher]
model = {{ kind = "cnn", widths = [16, 32, 64] }}
[teacher.intra]
cache = {{ per_class = {cache} }}
[teacher.training]
batch_size = 64
[[arm]]
name = "full"
"""
TRAINED_AS = {"images": 512, "classes": 10, "cache": 64}
ROUNDS = 5


def epochs(axis: str, sizes: Sequence[int]) -> dict[int, Costs]:
    """Return the cost of an epoch of a teacher with the intra-class loss, by images or so."""
    import torch
    from own import teacher_epoch

    from icckd.study.load import parse

    torch.set_num_threads(1)
    runs = {}
    for size in sizes:
        text = TRAINED.format(**{**TRAINED_AS, axis: size})
        runs[str(size)] = teacher_epoch(study=parse(text, where="grown.toml"))
    times = interleaved(runs, rounds=ROUNDS)
    return {int(size): {"an epoch": statistics.median(taken)} for size, taken in times.items()}


WAITED_FOR = {
    "report, first": ("report", "made"),
    "report, again": ("report", "made"),
    "status": ("status", "made"),
    "sql, one query": ("sql", "select count(*) from trial"),
}


def beside(commit: str, arms: int, seeds: int, epochs: int) -> list[str]:
    """Return a table of what a user waits for now and at an earlier version, medians and ratios."""
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in WAITED_FOR}
    with (
        tempfile.TemporaryDirectory() as home,
        package_of(commit, Path(home) / "package") as package,
    ):
        folders = {}
        for name, code in (("now", HERE), ("then", package.folder)):
            folders[name] = make(Path(home) / name, arms=arms, seeds=seeds, epochs=epochs), code
        os.sync()
        for number in range(BESIDE_ROUNDS):
            for which in ("now", "then") if number % 2 else ("then", "now"):
                folder, code = folders[which]
                for path in folder.root.glob("icckd.duckdb*"):
                    path.unlink()
                for name, words in WAITED_FOR.items():
                    seconds = command(folder.root, *words, code=code)
                    taken[name].setdefault(which, []).append(seconds)
    rows = [f"| {arms * seeds:,} trials | {package.commit[:7]} | now | then / now |"]
    rows.append("| --- | --- | --- | --- |")
    for name, times in taken.items():
        then, now = (statistics.median(times[which]) for which in ("then", "now"))
        rows.append(f"| {name} | {then:.2f} | {now:.2f} | {ratio(times, 'then', 'now'):.1f} |")
    about = f"{arms} arms, {seeds} seeds, {epochs} epochs a stage; {BESIDE_ROUNDS} rounds in turn."
    return [about, "", *rows]


BESIDE_ROUNDS = 3
SIZES: dict[str, Sequence[int]] = {
    "arms": (16, 104, 504, 2_000),
    "seeds": (14, 105, 1_001, 10_003, 100_000),
    "plans": (1_000, 10_000, 100_000),
    "attempts": (14, 140, 1_400, 14_000),
    "session": (1_000, 3_000, 10_000),
    "viewers": (0, 1, 2, 4, 8),
    "monitor": (20, 130, 1_300, 5_000),
    "images": (512, 2_048, 8_192, 32_768),
    "classes": (4, 16, 64, 256, 1_000),
    "cache": (1, 16, 64, 256, 1_024),
}
MADE: dict[str, Callable[[int], Costs]] = {
    "arms": arms, "seeds": seeds, "plans": plans, "attempts": attempts, "viewers": viewers,
    "monitor": monitor, "session": session,
}  # fmt: skip


def exponent(sizes: Sequence[int], costs: Sequence[float | None]) -> float | None:
    """Return the slope of log cost over log size between the last two sizes that have both.

    >>> exponent([1, 10, 100], [5.0, 2.0, 200.0])
    2.0
    """
    known = [(n, c) for n, c in zip(sizes, costs, strict=True) if n > 0 and c is not None and c > 0]
    if len(known) < 2:
        return None
    (n, cost), (more, costlier) = known[-2:]
    return math.log(costlier / cost) / math.log(more / n)


def table(axis: str, found: Mapping[int, Costs]) -> list[str]:
    """Return a row for each thing done, a column for each size, and the exponent."""
    sizes = list(found)
    names = list(dict.fromkeys(name for costs in found.values() for name in costs))
    head = " | ".join(f"{size:,}" for size in sizes)
    what = {"arms": "trials, by arms", "seeds": "trials, by seeds", "made": "trials"}.get(
        axis, axis
    )
    rows = [f"| {what} | {head} | exponent |", "| --- |" + " --- |" * (len(sizes) + 1)]
    for name in names:
        costs = [found[size].get(name) for size in sizes]
        slope = exponent(sizes, costs)
        cells = ["-" if cost is None else f"{cost:.4g}" for cost in costs]
        rows.append(
            f"| {name} | {' | '.join(cells)} | {'-' if slope is None else f'{slope:.2f}'} |"
        )
    return rows


def main() -> None:
    """Measure one axis and write the result."""
    axis, *words = sys.argv[1:]
    if axis == "looks":
        print(json.dumps(looks(*words)))
        return
    if axis == "whole-session":
        print(json.dumps(whole_session(*words)))
        return
    if axis == "deciding":
        print(json.dumps(deciding(*words)))
        return
    if axis == "watching":
        watching(*words)
        return
    if axis == "beside":
        commit, *numbers = words
        lines = beside(commit, *map(int, numbers))
        write_result(
            f"growth-beside-{'-'.join(numbers)}",
            [
                f"CPU seconds; results are synthetic; load average {os.getloadavg()[0]:.1f}.",
                "",
                *lines,
            ],
        )
        return
    if axis == "made":
        found = made(words)
    else:
        sizes = [int(word) for word in words] or SIZES[axis]
        found = {size: MADE[axis](size) for size in sizes} if axis in MADE else epochs(axis, sizes)
    synthetic = "images are synthetic" if axis in TRAINED_AS else "results are synthetic"
    what = "Memory" if axis == "session" else "CPU seconds"
    write_result(
        f"growth-{axis}",
        [
            f"{what}; {synthetic}; load average at the end: {os.getloadavg()[0]:.1f}.",
            "",
            *table(axis, found),
        ],
    )


if __name__ == "__main__":
    main()
