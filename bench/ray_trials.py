"""Many tiny trials by the executor ray, beside local: `python bench/ray_trials.py [TRIALS]`.

A trial is a teacher and its student of one epoch each. Both executors train the same study, one
after the other on empty state folders, with as many workers as there are cores; ray starts a Ray of
its own on this machine. CPU seconds are those of a control group (cpuacct), Ray's own processes
included, from the start of the command to its end; artifacts of both are compared by SHA-256.
Needs root and the extra `ray`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from timing import write_result

STUDY = """
[study]
name = "tiny"
baseline = "full"
seeds = {{ count = {trials} }}
[teacher.intra]
[teacher.training]
epochs = 1
[student.training]
epochs = 1
[[arm]]
name = "full"
"""
GROUP = Path("/sys/fs/cgroup/cpuacct/icckd-bench")
EXECUTORS = ("local", "ray")


def trained(executor: str, trials: int, folder: Path) -> tuple[float, float, dict[str, str]]:
    """Train; return wall seconds, CPU seconds, and digests of the artifacts' manifests."""
    folder.mkdir()
    (folder / "tiny.toml").write_text(STUDY.format(trials=trials))
    GROUP.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "icckd.cli.main", "run", "tiny.toml", "--device", "cpu"]
    begin, start = cpu_seconds(), time.monotonic()
    with (folder / "log").open("wb") as log:
        subprocess.run(
            ["sh", "-c", f'echo $$ > {GROUP}/cgroup.procs && exec "$@"', "sh", *command,
             "--executor", executor],
            cwd=folder, check=True, stdout=log, stderr=log,
        )  # fmt: skip
    wall = time.monotonic() - start
    found = {}
    for path in (folder / ".icckd" / "artifacts").glob("*/manifest.json"):
        for name, digest in json.loads(path.read_text())["files"].items():
            found[f"{path.parent.name}/{name}"] = digest
    return wall, cpu_seconds() - begin, found


def cpu_seconds() -> float:
    """Return what the group has used."""
    return int((GROUP / "cpuacct.usage").read_text()) / 1e9


def main() -> None:
    """Measure and write the result."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        measured = {name: trained(name, trials, Path(folder) / name) for name in EXECUTORS}
    assert measured["local"][2] == measured["ray"][2], "the artifacts differ"
    assert len({key.split("/")[0] for key in measured["ray"][2]}) == 2 * trials
    rows = [
        f"| {name} | {wall:.0f} | {60 * trials / wall:.0f} | {cpu:.0f} | {cpu / trials:.3f} |"
        for name, (wall, cpu, _) in measured.items()
    ]
    write_result(
        "ray-trials",
        [
            f"{trials} trials of a teacher and its student, one epoch each, in packs; ray"
            f" {version('ray')}; once each, load before {load:.1f}. All {2 * trials} artifacts are"
            " equal by SHA-256.",
            "",
            "| executor | wall seconds | trials a minute | CPU seconds | CPU seconds a trial |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"ray / local, CPU seconds: {measured['ray'][1] / measured['local'][1]:.2f}",
        ],
    )


if __name__ == "__main__":
    main()
