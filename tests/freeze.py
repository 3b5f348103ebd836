"""Freeze what this version of icckd writes, for later versions to read: once a release.

    python -m tests.freeze [NAME]

Makes `tests/data/released/NAME` (by default the version and the training version): a study that was
run, one whose runs were imported, as archives of results only, and the JSON report of each. The
archives hold the journals as this version writes them; `tests/results/test_released.py` reads each
folder there for good. What is there already is never written again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from icckd import __version__
from icckd.train.contract import EVERYTHING_ELSE as TRAINING_VERSION
from tests.support.studies import SMALL

RELEASED = Path(__file__).parent / "data" / "released"
RUNS = """method,seed,acc
full,0,90.5
full,1,91.25
full,2,90.75
no-cache,0,88.5
no-cache,1,
no-cache,2,88.75
"""
STUDIES = ("small", "runs")


def freeze(target: Path) -> None:
    """Write the archives and reports of this version into a new folder."""
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as home:
        Path(home, "small.toml").write_text(SMALL)
        Path(home, "runs.csv").write_text(RUNS)
        icckd(home, "run", "small.toml", "--device", "cpu")
        icckd(home, "import", "csv", "runs.csv", "--arm", "method", "--metric", "acc")
        for study in STUDIES:
            out = target.resolve() / f"{study}.tar.zst"
            icckd(home, "archive", study, "-o", str(out), "--results-only")
            report = icckd(home, "report", study, "--format", "json")
            (target / f"{study}.json").write_text(report)


def icckd(home: str, *words: str) -> str:
    """Run a command; return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "icckd.cli.main", *words], cwd=home, check=True, text=True,
        stdout=subprocess.PIPE, env={**os.environ, "ICCKD_HOME": f"{home}/.icckd", "TZ": "UTC"},
    ).stdout  # fmt: skip


def main() -> None:
    """Freeze this version under the name given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", nargs="?", default=f"{__version__}-training-{TRAINING_VERSION}")
    target = RELEASED / parser.parse_args().name
    freeze(target)
    for path in sorted(target.iterdir()):
        print(f"{path.stat().st_size:>8}  {path}")


if __name__ == "__main__":
    main()
