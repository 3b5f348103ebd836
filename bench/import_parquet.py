"""How much time and memory `icckd import parquet` takes of a file with many rows.

`python bench/import_parquet.py [ROWS]` writes a Parquet file of ROWS steps (default: 10 million) of
40 runs, with two metrics, into a temporary folder, imports it by the command, under the rules
`last` and `best`, and prints seconds and the peak resident memory of the command's process.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

ARMS, SEEDS = 5, 8


def main() -> None:
    """Write the file, import it twice, print a Markdown table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    steps = rows // (ARMS * SEEDS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "steps.parquet"
        duckdb.execute(
            f"copy (select 'arm-' || (i % {ARMS}) as arm, i // {ARMS} % {SEEDS} as seed,"
            f" i // {ARMS * SEEDS} as step,"
            f" 90 + i % {ARMS} + hash(i) % 1000 / 1e3 as acc, hash(i + 1) % 9973 / 1e4 as val_acc"
            f" from range({rows}) as t(i)) to '{path}'"
        )
        print(
            f"{rows:,} rows, {steps:,} steps of {ARMS * SEEDS} runs, {path.stat().st_size:,} bytes"
        )
        print("| rule | seconds | peak resident memory, MiB | journals, MiB |")
        print("| --- | --- | --- | --- |")
        for rule in ("last", "best:val_acc"):
            home = Path(folder) / rule.partition(":")[0]
            seconds, peak = imported(path, rule, home)
            size = sum(file.stat().st_size for file in home.rglob("*.jsonl"))
            print(f"| {rule} | {seconds:.0f} | {peak / 1024:.0f} | {size / 2**20:.1f} |")


def imported(path: Path, rule: str, home: Path) -> tuple[float, int]:
    """Import a file; return seconds, and peak resident memory in KiB."""
    command = [sys.executable, "-m", "icckd.cli.main", "import", "parquet", str(path)]
    command += ["--metric", "acc", "--step", "step", "--rule", rule]
    start = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, "ICCKD_HOME": str(home)}, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"import failed: {status}")
    return time.monotonic() - start, usage.ru_maxrss


if __name__ == "__main__":
    main()
