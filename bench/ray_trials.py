"""Many tiny trials on Ray: `python bench/ray_trials.py [TRIALS] [EXECUTOR ...] [--jobs=N]`.

Ten arms share a teacher a seed and have a student each, which learns at another rate: a trial is a
student of one epoch on 64 images and a tenth of a teacher. Packs are one task of Ray each. Without
executors `local` and `ray` train the same study, one after the other on empty
state folders, with N workers or as many as there are cores, and artifacts of both are compared by
SHA-256; ray starts a Ray of its own on this machine. CPU seconds are those of a control group
(cpuacct), Ray's own processes included, from the start of the command to its end. While it runs,
/proc tells every two seconds what each sort of process has used. Needs root and the extra `ray`.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from timing import write_result

STUDY = """
[study]
name = "tiny"
baseline = "full"
seeds = {{ count = {seeds} }}
[data]
kind = "digits"
train = 64
[teacher.intra]
[teacher.training]
epochs = 1
[student.training]
epochs = 1
[[arm]]
name = "full"
"""
ARM = """[[arm]]
name = "lr-{number}"
set = {{ "student.training.lr" = {rate} }}
"""
ARMS = 10
GROUP = Path("/sys/fs/cgroup/cpuacct/icckd-bench")
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
SAMPLES_APART = 2.0
ROLES = {
    "icckd.cli.main": "session",
    "icckd.run.ray_driver": "driver",
    "icckd.run.worker_server": "workers",
    "icckd.run.worker": "workers",
}
"""Sorts of processes, by the module that they run; the rest is Ray's own."""
PARTS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """How a run stood at a moment.

    Attributes:
        wall: Seconds since its start.
        stages: Artifacts that were there.
        cpu: CPU seconds by sort of process.
        resident: Largest bytes of resident memory of a process of that sort.
    """

    wall: float
    stages: int
    cpu: dict[str, float]
    resident: dict[str, int]


@dataclass
class Watch:
    """Reads /proc while a run lasts."""

    state: Path
    samples: list[Sample] = field(default_factory=list)
    _used: dict[int, tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _keep_looking(self) -> None:
        while not self._over.wait(SAMPLES_APART):
            self._look()

    def _look(self) -> None:
        resident: dict[str, int] = defaultdict(int)
        for pid in map(int, (GROUP / "cgroup.procs").read_text().split()):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if not words[0]:
                    continue  # it has ended
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                role = next((ROLES[word] for word in words if word in ROLES), "ray")
                has_buried = role == "workers"  # a server waits for the workers that it forked
                ticks = sum(map(int, fields[11 : 15 if has_buried else 13]))
                self._used[pid] = role, ticks / TICKS
                resident[role] = max(resident[role], int(fields[21]) * PAGE)
        cpu: dict[str, float] = defaultdict(float)
        for role, seconds in self._used.values():
            cpu[role] += seconds
        stages = 0
        with contextlib.suppress(OSError):
            stages = sum(1 for name in os.listdir(self.state / "artifacts") if name[0] != ".")
        self.samples.append(Sample(time.monotonic() - self._start, stages, cpu, resident))


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took and left."""

    wall: float
    cpu: float
    artifacts: dict[str, str]
    samples: list[Sample]
    sizes: dict[str, int]
    report: tuple[float, float, int]


def trained(executor: str, trials: int, folder: Path, jobs: list[str]) -> Run:
    """Train on an empty state folder, then write the report."""
    folder.mkdir()
    arms = (ARM.format(number=n, rate=0.1 + n / 1000) for n in range(1, ARMS))
    (folder / "tiny.toml").write_text(STUDY.format(seeds=trials // ARMS) + "".join(arms))
    GROUP.mkdir(exist_ok=True)
    state = folder / ".icckd"
    command = [sys.executable, "-m", "icckd.cli.main", "run", "tiny.toml", "--device", "cpu"]
    begin, start = cpu_seconds(), time.monotonic()
    watch = Watch(state)
    try:
        with (folder / "log").open("wb") as log:
            subprocess.run(
                ["sh", "-c", f'echo $$ > {GROUP}/cgroup.procs && exec "$@"', "sh", *command,
                 "--executor", executor, *jobs],
                cwd=folder, check=True, stdout=log, stderr=log,
            )  # fmt: skip
    finally:
        watch.end()
    wall, cpu = time.monotonic() - start, cpu_seconds() - begin
    found = {}
    for path in (state / "artifacts").glob("*/manifest.json"):
        for name, digest in json.loads(path.read_text())["files"].items():
            found[f"{path.parent.name}/{name}"] = digest
    sizes = {
        "journals of attempts": size_of((state / "attempts").glob("*/journal.jsonl")),
        "journal of the session": size_of((state / "sessions").glob("*/journal.jsonl")),
        "database": size_of(state.glob("*.duckdb*")),
        "artifacts": size_of((state / "artifacts").glob("*/*")),
    }
    return Run(wall, cpu, found, watch.samples, sizes, reported(folder))


def reported(folder: Path) -> tuple[float, float, int]:
    """Return wall seconds, CPU seconds and the trials of the report."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "icckd.cli.main", "report", "tiny", "--format", "json"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rows = json.loads(done.stdout)["comparisons"]
    return wall, cpu, sum(row["n"] for row in rows if row["metric"] == "student.top1")


def size_of(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def cpu_seconds() -> float:
    """Return what the group has used."""
    return int((GROUP / "cpuacct.usage").read_text()) / 1e9


def stages_of(trials: int) -> int:
    """Return the stages of so many trials: students, and teachers that ten of them share."""
    return trials + trials // ARMS


def told_in_parts(run: Run, trials: int) -> list[str]:
    """Return a table row for each tenth of the stages."""
    rows, last = [], Sample(0.0, 0, {}, {})
    for part in range(1, PARTS + 1):
        wanted = stages_of(trials) * part / PARTS
        reached = [each for each in run.samples if each.stages >= wanted]
        now = reached[0] if reached else run.samples[-1]
        done = max(1, now.stages - last.stages)
        used = {role: now.cpu.get(role, 0.0) - last.cpu.get(role, 0.0) for role in now.cpu}
        rows.append(
            f"| {now.stages:,} | {now.wall:.0f} | {now.resident.get('session', 0) >> 20} |"
            f" {now.resident.get('driver', 0) >> 20} |"
            + "".join(
                f" {1000 * used.get(role, 0.0) / done:.1f} |"
                for role in ("session", "driver", "workers", "ray")
            )
        )
        last = now
    return rows


def main() -> None:
    """Measure and write the result."""
    jobs = [word for word in sys.argv[1:] if word.startswith("--jobs=")]
    words = [word for word in sys.argv[1:] if word not in jobs]
    trials = int(words[0]) if words else 1000
    executors = words[1:] or ["local", "ray"]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: trained(name, trials, Path(folder) / name, jobs) for name in executors}
    artifacts = [run.artifacts for run in runs.values()]
    assert all(each == artifacts[0] for each in artifacts), "the artifacts differ"
    assert len({key.split("/")[0] for key in artifacts[0]}) == stages_of(trials)
    assert all(run.report[2] == trials for run in runs.values()), "the report lacks trials"
    lines = [
        f"{trials:,} trials, {trials // ARMS:,} seeds of {ARMS} arms that share a teacher a seed;"
        f" one epoch each on 64 images, in packs; ray {version('ray')}; once each, load before"
        f" {load:.1f}, after {os.getloadavg()[0]:.1f}. All {stages_of(trials):,} stages are"
        " complete, and the report has every trial."
        + (" Artifacts of both are equal by SHA-256." if len(runs) > 1 else ""),
        "",
        "| executor | wall seconds | trials a minute | CPU seconds | CPU seconds a trial |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {run.wall:.0f} | {60 * trials / run.wall:.0f} | {run.cpu:.0f} |"
            f" {run.cpu / trials:.3f} |"
            for name, run in runs.items()
        ),
    ]
    if len(runs) > 1:
        first, last = next(iter(runs)), list(runs)[-1]
        quotient = runs[last].cpu / runs[first].cpu
        lines += ["", f"{last} / {first}, CPU seconds: {quotient:.2f}"]
    for name, run in runs.items():
        wall, cpu, _ = run.report
        lines += [
            "",
            f"## {name}, by tenths of the stages",
            "",
            "RSS in MiB; CPU milliseconds a stage in that tenth, by sort of process.",
            "",
            "| stages | seconds | RSS session | RSS driver | session | driver | workers | ray |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *told_in_parts(run, trials),
            "",
            f"`icckd report` afterwards: {wall:.1f} s, {cpu:.1f} s of CPU.",
            "",
            "| left on disk | MB | kB a trial |",
            "| --- | --- | --- |",
            *(
                f"| {what} | {size / 1e6:.1f} | {size / 1e3 / trials:.1f} |"
                for what, size in run.sizes.items()
            ),
        ]
    write_result("ray-trials", lines)


if __name__ == "__main__":
    main()
