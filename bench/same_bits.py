"""Whether two commits train the same bits: `python bench/same_bits.py BEFORE AFTER`.

    uv run python bench/same_bits.py 9bb6299 d1c0c63

For a change of much code that must change no number. Each commit's own package runs in this
environment, so that the code is the only difference, on this machine one after the other:

- the shipped study `ablations.toml`, shortened: the SHA-256 of the weights of every stage;
- one arm of it, whose processes are all killed while a teacher trains, and which the same commit
  then runs to its end: the weights must be those of the run that nobody killed;
- the same, killed under BEFORE and run to its end under AFTER, from the checkpoint of BEFORE.

Exit 1 where anything differs. Where the training version was raised between them, commits differ on
purpose.
A table goes to bench/results. About four minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from timing import write_result

ROOT = Path(__file__).parents[1]
SHORT = ("--seeds", "0:1", "teacher.training.epochs=4", "student.training.epochs=4")
ARM = """
[study]
name = "one-arm"
baseline = "full"
seeds = { count = 1 }
[teacher.training]
epochs = 30
[student.training]
epochs = 4
[[arm]]
name = "full"
"""
SECONDS = 900.0
Weights = dict[str, str]


@dataclass(frozen=True)
class Package:
    """The package as it was at a commit, in a folder."""

    commit: str
    folder: Path

    def check(self) -> None:
        """Make sure that it is this package which Python finds."""
        code = "import icckd; print(icckd.__file__)"
        found = subprocess.check_output(
            [sys.executable, "-c", code], env=self._environment(), cwd=self.folder, text=True
        )
        if not Path(found.strip()).is_relative_to(self.folder):
            raise SystemExit(f"{self.commit}: Python finds icckd in {found.strip()}")

    def run(self, home: Path, *arguments: str) -> None:
        """Run a study to its end, with a state folder in `home`."""
        process = self.start(home, *arguments)
        out, err = process.communicate(timeout=SECONDS)
        if process.returncode != 0:
            raise SystemExit(f"{self.commit}: exit {process.returncode}\n{out}\n{err}")

    def start(self, home: Path, *arguments: str) -> "subprocess.Popen[str]":
        home.mkdir(exist_ok=True)
        variables = {
            **self._environment(),
            "ICCKD_HOME": str(home / "state"),
            "ICCKD_CHECKPOINT_SECONDS": "0",  # one after every epoch
        }
        return subprocess.Popen(
            [sys.executable, "-m", "icckd.cli.main", "run", *arguments, "--device", "cpu"],
            cwd=home, env=variables, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        paths = os.pathsep.join([str(self.folder / "core"), str(self.folder)])
        return {**os.environ, "PYTHONPATH": paths}

    def kill_in_a_teacher(self, home: Path, *arguments: str) -> None:
        """Run a study and kill all its processes after the first checkpoint of a stage."""
        process = self.start(home, *arguments)
        end = time.monotonic() + SECONDS
        while not any((home / "state" / "checkpoints").glob("*/epoch-*")):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{self.commit}: no checkpoint\n{process.communicate()[1]}")
            time.sleep(0.005)
        doomed = psutil.Process(process.pid)
        for each in [*doomed.children(recursive=True), doomed]:
            each.kill()
        process.communicate()
        if weights(home):
            raise SystemExit(f"{self.commit}: a stage ended before the kill")


@contextmanager
def package_of(commit: str, folder: Path) -> Iterator[Package]:
    """Check a commit out into a folder."""
    git = ("git", "-C", str(ROOT))
    name = subprocess.check_output([*git, "rev-parse", "--short", commit], text=True).strip()
    subprocess.check_call([*git, "worktree", "add", "--quiet", "--detach", str(folder), name])
    try:
        package = Package(commit=name, folder=folder)
        package.check()
        yield package
    finally:
        subprocess.check_call([*git, "worktree", "remove", "--force", str(folder)])


def weights(home: Path) -> Weights:
    """Return the SHA-256 of the model of each finished stage, by the stage's digest."""
    return {
        path.parent.name: json.loads(path.read_text())["files"]["model.safetensors"]
        for path in (home / "state" / "artifacts").glob("*/manifest.json")
    }


def resumptions(home: Path) -> int:
    """Return how many attempts went on from a checkpoint."""
    journals = (home / "state" / "attempts").glob("*/journal.jsonl")
    return sum(b'"k":"c"' in path.read_bytes() for path in journals)


def compared(before: Package, after: Package, scratch: Path) -> list[tuple[str, int, bool]]:
    """Return what was compared: words, models, whether all of them were equal."""
    arm = scratch / "arm.toml"
    arm.write_text(ARM)
    shipped: list[Weights] = []
    whole: list[Weights] = []
    resumed: list[Weights] = []
    for package in (before, after):
        home = scratch / package.commit
        home.mkdir()
        package.run(home / "shipped", str(package.folder / "studies" / "ablations.toml"), *SHORT)
        package.run(home / "whole", str(arm))
        package.kill_in_a_teacher(home / "killed", str(arm))
        package.run(home / "killed", str(arm))
        shipped.append(weights(home / "shipped"))
        whole.append(weights(home / "whole"))
        resumed.append(weights(home / "killed") if resumptions(home / "killed") else {})
    before.kill_in_a_teacher(scratch / "both", str(arm))
    after.run(scratch / "both", str(arm))
    both = weights(scratch / "both") if resumptions(scratch / "both") else {}
    first = whole[0]
    return [
        ("shipped study, shortened", len(shipped[0]), shipped[0] == shipped[1] != {}),
        ("one arm, undisturbed", len(first), first == whole[1] != {}),
        (f"killed and resumed under {before.commit}", len(first), resumed[0] == first),
        (f"killed and resumed under {after.commit}", len(first), resumed[1] == first),
        (f"killed under {before.commit}, resumed under {after.commit}", len(first), both == first),
    ]


def main() -> int:
    """Compare two commits; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before")
    parser.add_argument("after")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        package_of(asked.before, Path(name) / "before") as before,
        package_of(asked.after, Path(name) / "after") as after,
    ):
        rows = compared(before, after, Path(name))
    lines = [
        f"Weights by SHA-256, {before.commit} and {after.commit}.",
        "",
        "| what was run | models | equal |",
        "| --- | --- | --- |",
        *(f"| {what} | {models} | {'yes' if equal else 'NO'} |" for what, models, equal in rows),
    ]
    write_result("same-bits", lines)
    return 0 if all(equal for _, _, equal in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
