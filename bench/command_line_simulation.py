"""False verdicts of whole studies that the commands run: `python bench/command_line_simulation.py`.

    python bench/command_line_simulation.py [ROUNDS [SECONDS]]

38 rounds of 27 studies unless said otherwise; no round begins after so many seconds.

Every study is a file that `icckd run FILE --until decided` takes from its plan to its verdicts: a
first look, then once the extension that it advises. Only the training is replaced: an executor
draws which test images each student is right about (bench/drawn.py). What is read are the verdicts
that the command prints. It runs in this process, each study in a state folder of its own.

The rules' own error is the affair of bench/statistics_simulation.py, which is faster; this shows
that plan, sessions, journals, store and report follow them. Two arms; three noises:

- ceiling: each of 100 images is judged independently, 97 % rightly; smallest effect 3 points.
- few flips: models differ in few of 1,000 images, each independently; smallest effect 0.5 points.
- normal, counted: 1,000 images, counts with normal noise of 3 images on nested sets of images, so
  that the floor is as low as it can be; smallest effect 0.5 points, 1.2 deviations of a pair.

Three truths: no arm differs; both differ by the smallest effect; one of each.
"""

import contextlib
import io
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product, repeat
from pathlib import Path
from unittest import mock

import drawn
import numpy as np
from drawn import Hits, Truths
from scipy.stats import binom
from timing import write_result

from icckd.cli.main import main as icckd

SEED = 20261130
ARMS = ("higher", "lower")
MOST = 60
FIRST = (3, 6, 8)
WRONG = {0: ("the part helps", "the part hurts"), 1: ("equivalent to the baseline",)}
TRUTHS = {"null": (0, 0), "bound": (1, 1), "half": (0, 1)}
STUDY = """
[study]
name = "simulated"
baseline = "full"
primary = "student.top1"
smallest_effect = {bound}
seeds = {{ count = {count} }}
family = ["higher", "lower"]
[data]
kind = "digits"
labels = "coarse"
[student]
distiller = "off"
[student.training]
epochs = 1
[[arm]]
name = "full"
[[ablation]]
name = "A higher learning rate"
arm = "higher"
part = "student.training.lr"
action = "REPLACE"
replacement = [0.2]
[[ablation]]
name = "A lower learning rate"
arm = "lower"
part = "student.training.lr"
action = "REPLACE"
replacement = [0.01]
"""


@dataclass(frozen=True, slots=True)
class Noise:
    """How models differ: hits of one model, lower by so many images in the mean."""

    images: int
    bound_images: int
    draw: Callable[[np.random.Generator, int], Hits]

    @property
    def bound(self) -> float:
        """The smallest effect that matters, in points."""
        return 100.0 * self.bound_images / self.images


def ceiling(rng: np.random.Generator, lost: int) -> Hits:
    """Return independent judgements, 97 % right."""
    return rng.random(100) < 0.97 - lost / 100


def few_flips(rng: np.random.Generator, lost: int) -> Hits:
    """Return a fixed set of 900 images, of which and beside which a few are judged otherwise."""
    chance = np.where(np.arange(1000) < 900, 0.01 + lost / 900, 0.09)
    return (np.arange(1000) < 900) ^ (rng.random(1000) < chance)


def normal_counted(rng: np.random.Generator, lost: int) -> Hits:
    """Return nested sets of images whose number is normal."""
    return np.arange(1000) < round(900 - lost + rng.normal(0.0, 3.0))


NOISES = {
    "ceiling": Noise(100, 3, ceiling),
    "few flips": Noise(1000, 5, few_flips),
    "normal, counted": Noise(1000, 5, normal_counted),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the commands made of a study."""

    is_false: bool
    is_decided: bool
    is_extended: bool


def run_study(noise: Noise, differ: tuple[int, int], first: int, key: list[int]) -> Outcome:
    """Run a study by its commands and hold its verdicts to the truth.

    Args:
        noise: How models differ.
        differ: Of each arm, whether it differs by the smallest effect.
        first: Seeds of the first look.
        key: Of the random numbers.
    """
    lost = dict(zip(ARMS, differ, strict=True))
    names = ("full", *ARMS)

    def truth(arm: str, seed: int) -> Hits:
        rng = np.random.default_rng([SEED, *key, seed, names.index(arm)])
        return noise.draw(rng, noise.bound_images * lost.get(arm, 0))

    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder:
        path = Path(folder) / "study.toml"
        path.write_text(STUDY.format(bound=noise.bound, count=first))
        state = {"ICCKD_HOME": str(Path(folder) / ".icckd")}
        with (
            mock.patch.dict(os.environ, state),
            mock.patch.object(Truths, "now", truth, create=True),
        ):
            code, printed = command(
                "run", str(path), "--device", "cpu", "--executor", drawn.NAME,
                "--until", "decided", "--max-seeds", str(MOST),
            )  # fmt: skip
            _, report = command("report")
            sessions = len(list(Path(state["ICCKD_HOME"], "sessions").iterdir()))
    if code == 6 and not printed:  # the seeds that it takes are more than allowed
        return Outcome(is_false=False, is_decided=False, is_extended=False)
    found = printed_verdicts(report)
    is_decided = not any(verdict.startswith("undecided") for verdict in found.values())
    if code != (0 if is_decided else 6):
        raise RuntimeError(f"icckd run ended with exit code {code}, and printed {found}")
    return Outcome(
        is_false=any(found[arm] in WRONG[lost[arm]] for arm in ARMS),
        is_decided=is_decided,
        is_extended=sessions == 2,
    )


def printed_verdicts(text: str) -> dict[str, str]:
    """Return the verdict of each arm as a report prints it."""
    lines = iter(text.splitlines())
    while next(lines) != "verdicts on student.top1":
        pass
    next(lines)
    rows = (re.split(r"  +", next(lines).strip()) for _ in ARMS)
    found = {arm: verdict for arm, verdict, *_ in rows}
    if tuple(found) != ARMS:
        raise RuntimeError(f"icckd report printed verdicts on {tuple(found)}")
    return found


def _fast_folder() -> str | None:
    """Return a folder in memory where there is one: each study is written and thrown away."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def command(*arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it printed."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code = 0
    with (
        mock.patch.object(sys, "argv", ["icckd", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            icckd()
        except SystemExit as end:
            code = int(end.code or 0)
        out.flush()
    return code, out.buffer.getvalue().decode()  # type: ignore[attr-defined]


Cell = tuple[str, str, int]


def simulate(rounds: int, seconds: float) -> Iterator[tuple[Cell, Outcome]]:
    """Yield one study of every cell, noise, truth and first seeds, then the next; on all cores."""
    cells = list(product(NOISES, TRUTHS, FIRST))
    start = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for number in range(rounds):
            if time.monotonic() - start > seconds:
                return
            yield from zip(cells, pool.map(run_one, cells, repeat(number)), strict=True)


def run_one(cell: Cell, number: int) -> Outcome:
    """Run a study of a cell."""
    noise, truth, first = cell
    key = [list(NOISES).index(noise), list(TRUTHS).index(truth), first, number]
    with drawn.installed():
        return run_study(NOISES[noise], TRUTHS[truth], first, key)


def limit(studies: int) -> int:
    """Return the most studies that may err: the 99.9 % quantile at 5 %."""
    return int(binom.ppf(0.999, studies, 0.05))


def table(found: dict[Cell, list[Outcome]]) -> Iterator[str]:
    """Yield a row for each cell, and one for all."""
    yield "| noise | truth | first seeds | studies | extended | decided | false | allowed |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    everything = [outcome for outcomes in found.values() for outcome in outcomes]
    rows = [(*map(str, cell), outcomes) for cell, outcomes in found.items()]
    for *words, outcomes in [*rows, ("all", "", "", everything)]:
        counts = (
            len(outcomes),
            sum(each.is_extended for each in outcomes),
            sum(each.is_decided for each in outcomes),
            sum(each.is_false for each in outcomes),
            limit(len(outcomes)),
        )
        yield f"| {' | '.join(words)} | {' | '.join(map(str, counts))} |"
    error = sum(each.is_false for each in everything) / len(everything)
    yield f"\n{100 * error:.2f} % of all studies have a false verdict; 5 % are allowed."


def main() -> int:
    """Run all cells and write the result; return 1 where a cell, or all of them, err too often."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 38
    start = time.perf_counter()
    found: dict[Cell, list[Outcome]] = {}
    everything: list[Outcome] = []
    for cell, outcome in simulate(rounds, float(sys.argv[2]) if len(sys.argv) > 2 else math.inf):
        found.setdefault(cell, []).append(outcome)
        everything.append(outcome)
        if len(everything) % (3 * len(NOISES) * len(TRUTHS)) == 0:
            false = sum(each.is_false for each in everything)
            print(f"{time.perf_counter() - start:.0f} s: {false} of {len(everything)}", flush=True)
    seconds = time.perf_counter() - start
    write_result(
        "command-line-simulation",
        [
            *table(found),
            "",
            f"{seconds:.0f} s, {len(everything):,} studies, generator seed {SEED}.",
        ],
    )
    too_many = (sum(e.is_false for e in some) > limit(len(some)) for some in found.values())
    return int(any(too_many) or sum(e.is_false for e in everything) > limit(len(everything)))


if __name__ == "__main__":
    sys.exit(main())
