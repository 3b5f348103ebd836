"""Wall time of the shipped study on an empty state folder: `python bench/study_time.py [RUNS]`.

The machine should be otherwise idle. Each run is a real `icckd run` in a new process.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import write_result

ROOT = Path(__file__).parents[1]
STUDY = "studies/ablations.toml"


def one_run() -> tuple[float, int]:
    """Return wall seconds and the number of stages trained."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ICCKD_HOME": home}
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "icckd.cli.main", "run", STUDY],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
        )
        seconds = time.perf_counter() - start
        asked = subprocess.run(
            [sys.executable, "-m", "icckd.cli.main", "report", "--format", "json", "--sql",
             "select count(*) as stages from stage"],
            cwd=ROOT, env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return seconds, json.loads(asked.stdout)[0]["stages"]


def main() -> None:
    """Run it a few times and write the result."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    results = [one_run() for _ in range(runs)]
    seconds = sorted(result[0] for result in results)
    write_result(
        "study-time",
        [
            f"`icckd run {STUDY}` on an empty state folder, {results[0][1]} stages,"
            f" {os.cpu_count()} workers of one thread, n = {runs}",
            "",
            "| | seconds |",
            "| --- | --- |",
            f"| minimum | {seconds[0]:.1f} |",
            f"| median | {statistics.median(seconds):.1f} |",
            f"| maximum | {seconds[-1]:.1f} |",
        ],
    )


if __name__ == "__main__":
    main()
