"""Time of the shipped study on an empty state folder: `python bench/study_time.py [RUNS]`.

Each run is a real `icckd run` in a new process. Wall time says something on an idle machine only;
CPU seconds of the session and its workers suffer less from other work, and the load is told.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import write_result

ROOT = Path(__file__).parents[1]
STUDY = "studies/ablations.toml"


def one_run() -> tuple[float, float, float, int]:
    """Return the load before, wall and CPU seconds, and the number of stages trained."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ICCKD_HOME": home}
        load, before, start = os.getloadavg()[0], cpu_seconds(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "icckd.cli.main", "run", STUDY],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
        )
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - before
        asked = subprocess.run(
            [sys.executable, "-m", "icckd.cli.main", "report", "--format", "json", "--sql",
             "select count(*) as stages from stage"],
            cwd=ROOT, env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return load, seconds, cpu, json.loads(asked.stdout)[0]["stages"]


def cpu_seconds() -> float:
    """Return what all children that ended have used, their own children included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run it a few times and write the result."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    loads, seconds, cpu, stages = zip(*(one_run() for _ in range(runs)), strict=True)
    write_result(
        "study-time",
        [
            f"`icckd run {STUDY}` on an empty state folder, {stages[0]} stages,"
            f" {os.cpu_count()} workers of one thread, n = {runs};"
            f" load average before each run {', '.join(f'{load:.1f}' for load in loads)}",
            "",
            "| | wall seconds | CPU seconds |",
            "| --- | --- | --- |",
            *(
                f"| {name} | {of(seconds):.1f} | {of(cpu):.1f} |"
                for name, of in (("minimum", min), ("median", statistics.median), ("maximum", max))
            ),
        ],
    )


if __name__ == "__main__":
    main()
