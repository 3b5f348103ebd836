"""Shared by the benchmarks: medians of interleaved rounds, and dated result files."""

import datetime
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def interleaved(
    runs: dict[str, Callable[[], object]], *, rounds: int, cpu_time: bool = True
) -> dict[str, list[float]]:
    """Return seconds of each run in each round; the order turns round every other round."""
    clock = time.process_time if cpu_time else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # warm-up
    for number in range(rounds):
        names = list(runs) if number % 2 == 0 else list(runs)[::-1]
        for name in names:
            start = clock()
            runs[name]()
            times[name].append(clock() - start)
    return times


def ratio(times: dict[str, list[float]], name: str, base: str) -> float:
    """Return the median over rounds of time(name) / time(base)."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def write_result(what: str, lines: list[str]) -> Path:
    """Write a dated result file and print it."""
    now = datetime.datetime.now(datetime.UTC)
    device = f"{os.cpu_count()}-cores"
    path = RESULTS / f"{what}_{device}_{now:%Y-%m-%d}.md"
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "numpy", "duckdb", "textual"))
    text = "\n".join(
        [
            f"# {what}, {now:%Y-%m-%d}",
            "",
            f"- command: `{Path(sys.orig_argv[0]).name} {' '.join(sys.orig_argv[1:])}`",
            f"- machine: {_cpu_name()}, {os.cpu_count()} cores, {platform.system()}"
            f" {platform.release()}",
            f"- Python {platform.python_version()}, {packages}",
            "",
            *lines,
            "",
        ]
    )
    RESULTS.mkdir(exist_ok=True)
    path.write_text(text)
    print(text)
    return path


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
