"""What norms, log and cache cost a teacher's stage: `python bench/norm_cost.py [ROUNDS]`.

The shipped study's teacher by itself and in a pack of twelve: CPU seconds inside the functions
that find norms, check the log, write and look at the cache, as shares of the stage's in the same
run, which other work on the machine hardly changes. One thread, nothing is waited for.
"""

import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from timing import write_result

from icckd.run.pack import keep_memory
from icckd.study.load import load
from icckd.study.training import Numerics
from icckd.train.contract import JobContext, TeacherJob
from icckd.train.losses.contrastive import IntraClass
from icckd.train.optim import Optimizer
from icckd.train.packs.intra import PackedIntra
from icckd.train.packs.stage import Place
from icckd.train.packs.teacher import train_teachers
from icckd.train.stage import train_teacher
from icckd.train.trainer import StepLog

STUDY = load(Path(__file__).parents[1] / "studies/ablations.toml")
MEMBERS = 12


class Silent:
    """A recorder that keeps nothing."""

    def resumed(self, series, *, attempt, seconds) -> None: ...
    def epoch(self, epoch, values) -> None: ...
    def outcomes(self, values, right=()) -> None: ...
    def log(self, message) -> None: ...


def always(*arguments: Any, **named: Any) -> bool:
    """Count every call."""
    return True


def whole(*arguments: Any, **named: Any) -> bool:
    """Count the norms of whole tensors: those of steps."""
    return len(arguments) == 1 and not named


def of_rows(*arguments: Any, **named: Any) -> bool:
    """Count the norms of rows: those of a pack's steps."""
    return len(arguments) == 1 and named == {"dim": 1}


WATCHED = {
    "by itself": (
        ("gradient norm", Optimizer, "gradient_norm", always),
        ("strength norms", torch.Tensor, "norm", whole),
        ("check of the log at every step", StepLog, "check", always),
        ("cache, written at every step", IntraClass, "remember", always),
        ("cache, looked at in the diagnosed epochs", IntraClass, "observe", always),
    ),
    "in a pack": (
        ("gradient norms and strength norms", torch.linalg, "vector_norm", of_rows),
        ("check of the log once an epoch", StepLog, "check", always),
        ("caches, written at every step", PackedIntra, "remember", always),
        ("caches, looked at in the diagnosed epochs", IntraClass, "observe", always),
    ),
}


def timed(run: Callable[[], None], parts: Any) -> dict[str, float]:
    """Return the share of a run's CPU time, in percent, that is spent in each part."""
    spent: Counter[str] = Counter()

    def watch(name: str, function: Callable[..., Any], counts: Callable[..., bool]) -> Any:
        def watched(*arguments: Any, **named: Any) -> Any:
            if not counts(*arguments, **named):
                return function(*arguments, **named)
            start = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] += time.thread_time() - start

        return watched

    with ExitStack() as stack:
        for name, owner, attribute, counts in parts:
            watched = watch(name, getattr(owner, attribute), counts)
            stack.enter_context(patch.object(owner, attribute, watched))
        start = time.process_time()
        run()
        total = time.process_time() - start
    return {name: 100 * spent[name] / total for name, *_ in parts} | {"seconds": total}


def stages(folder: Path, *, packed: bool) -> Callable[[], None]:
    """Return a function that trains the teacher, or a pack of it."""
    teacher = STUDY.teacher

    def place(seed: int) -> Place[TeacherJob]:
        numerics = Numerics(packing="on" if packed else "off")
        job = TeacherJob(data=STUDY.data, teacher=teacher, numerics=numerics, seed=seed)
        context = JobContext(
            device="cpu", data_root=folder, artifact_folder=folder / f"{packed}-{seed}"
        )
        return Place(job=job, recorder=Silent(), context=context)

    def ended(number: int, error: Exception | None) -> None:
        if error is not None:
            raise error

    def alone() -> None:
        one = place(0)
        train_teacher(one.job, one.recorder, one.context)

    return (lambda: train_teachers([place(s) for s in range(MEMBERS)], ended)) if packed else alone


def table(rounds: int) -> Iterator[str]:
    """Yield the rows of both forms."""
    folder = Path(tempfile.mkdtemp())
    yield f"The shipped teacher; {MEMBERS} members in the pack; {rounds} rounds."
    for form, parts in WATCHED.items():
        run = stages(folder, packed=form == "in a pack")
        run()  # warm-up
        found = [timed(run, parts) for _ in range(rounds)]
        yield ""
        seconds = statistics.median(each["seconds"] for each in found)
        yield f"| {form}, {seconds:.2f} CPU s | % of the stage, median | least to most |"
        yield "|---|---|---|"
        for name, *_ in parts:
            shares = sorted(each[name] for each in found)
            middle = statistics.median(shares)
            yield f"| {name} | {middle:.1f} | {shares[0]:.1f} to {shares[-1]:.1f} |"
        sums = [sum(each.values()) - each["seconds"] for each in found]
        yield f"| together | {statistics.median(sums):.1f} | {min(sums):.1f} to {max(sums):.1f} |"


def main() -> None:
    """Measure, and write a dated result."""
    torch.set_num_threads(1)
    keep_memory()
    write_result("norm-cost", list(table(int(sys.argv[1]) if len(sys.argv) > 1 else 3)))


if __name__ == "__main__":
    main()
