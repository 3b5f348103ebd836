"""What a stage costs besides its epochs: `python bench/tiny_stage.py [COMMIT] [--rounds N]`.

CPU seconds of stages of one epoch and of three, in a worker that is warm, of this checkout and,
beside it, of COMMIT, the two in turn: a teacher with the intra-class loss and its student on the
digits, alone and eight to a pack. An epoch is half the difference; what is left of the stage of one
epoch is the fixed cost: reading, building, validation, the metrics on the test images, journal,
artifact. Each round is a process of its own; the first stages of a kind in it do not count.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from same_bits import package_of
from timing import write_result

ROOT = Path(__file__).parents[1]
STUDY = """
[study]
name = "tiny"
baseline = "full"
seeds = {{ count = {seeds} }}
[data]
kind = "digits"
[teacher.intra]
[teacher.training]
epochs = {epochs}
[student.training]
epochs = {epochs}
[numerics]
packing = "{packing}"
[[arm]]
name = "full"
"""
PACK = 8
SIZES = {"off": 6, "on": 3 * PACK}
"""Seeds, by whether they are packed."""
Taken = dict[str, float]


def stages(packing: str, epochs: int) -> Iterator[tuple[str, float]]:
    """Train the stages of a study; yield kind and CPU seconds a stage of each that counts."""
    from icckd.journal.folder import StateFolder
    from icckd.run.inline import InlineExecutor
    from icckd.run.messages import Order
    from icckd.run.prepare import make_plan
    from icckd.study.load import parse

    text = STUDY.format(seeds=SIZES[packing], epochs=epochs, packing=packing)
    plan = make_plan(parse(text, where="tiny.toml"), device="cpu", root=Path("data"))
    executor = InlineExecutor(lambda: False)
    with tempfile.TemporaryDirectory() as scratch:
        folder = StateFolder(Path(scratch) / "state")
        folder.create()
        for kind in ("teacher", "student"):
            found = [stage for stage in plan.stages.values() if stage.kind == kind]
            at_once = PACK if packing == "on" else 1
            for first in range(0, len(found), at_once):
                orders = [
                    Order(
                        attempt=f"{kind}-{number}", session="bench", data_root="data",
                        state_folder=str(folder.root), stage=found[number],
                        pack=f"pack-{first}" if at_once > 1 else "",
                    )
                    for number in range(first, first + at_once)
                ]  # fmt: skip
                start = time.process_time()
                executor.submit(orders)
                reports = executor.wait(0)
                took = (time.process_time() - start) / at_once
                assert sum(each.state == "complete" for each in reports) == at_once, reports
                if first:
                    yield kind, took


def child() -> None:
    """Print what stages took, by kind, whether packed, and what of it."""
    import torch

    torch.set_num_threads(1)
    found: Taken = {}
    for packing, name in (("off", "alone"), ("on", f"{PACK} to a pack")):
        medians: dict[tuple[str, int], float] = {}
        for epochs in (1, 3):
            taken: dict[str, list[float]] = {}
            for kind, seconds in stages(packing, epochs):
                taken.setdefault(kind, []).append(seconds)
            medians |= {(kind, epochs): statistics.median(s) for kind, s in taken.items()}
        for kind in ("teacher", "student"):
            epoch = (medians[kind, 3] - medians[kind, 1]) / 2
            found[f"{kind}, {name}: one epoch in all"] = medians[kind, 1]
            found[f"{kind}, {name}: fixed"] = medians[kind, 1] - epoch
    print(json.dumps(found))


def run(folder: Path) -> Taken:
    """Return what a version of icckd takes in a process of its own."""
    paths = os.pathsep.join([str(folder / "core"), str(folder), str(ROOT / "bench")])
    told = subprocess.run(
        [sys.executable, __file__, "child"], check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    ).stdout  # fmt: skip
    found: Taken = json.loads(told.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", nargs="?", help="an earlier version, to set beside this one")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        versions = {"now": ROOT}
        if asked.commit:
            package = stack.enter_context(package_of(asked.commit, Path(scratch) / "package"))
            versions[package.commit] = package.folder
        taken: dict[str, list[Taken]] = {name: [] for name in versions}
        for number in range(asked.rounds):
            for name in list(versions) if number % 2 else list(versions)[::-1]:
                taken[name].append(run(versions[name]))
    lines = [f"| milliseconds of CPU a stage | {' | '.join(versions)} |"]
    lines.append(f"| --- |{' ---: |' * len(versions)}")
    for what in taken["now"][0]:
        medians = [1e3 * statistics.median(each[what] for each in taken[name]) for name in versions]
        lines.append(f"| {what} | {' | '.join(f'{each:.1f}' for each in medians)} |")
    about = f"Medians of {asked.rounds} rounds in turn; load average {os.getloadavg()[1]:.1f} on"
    write_result("tiny-stage", [f"{about} {os.cpu_count()} cores.", "", *lines])


if __name__ == "__main__":
    child() if sys.argv[1:] == ["child"] else main()
