"""What the teacher's diagnostics cost: `python bench/diagnosis_cost.py [ROUNDS]`.

CPU time at one thread on digits. At every step: an epoch with the diagnostics against the same one
with their functions replaced by constants, interleaved. At the five diagnosed epochs: fill, age and
drift of the cache, against the training time of the shipped study's teacher and of a stage of one
minute.
"""

import statistics
import sys
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from own import STUDY, teacher_epoch, teacher_parts
from timing import interleaved, ratio, write_result

from icckd.study.training import DIAGNOSES
from icckd.train.losses import contrastive
from icckd.train.losses.contrastive import observe_cache
from icckd.train.networks.cnn import CnnModel

WIDTHS = ((16, 32, 64), (64, 128, 256))


def without_diagnostics(epoch: Callable[[], None]) -> Callable[[], None]:
    """Return the epoch with what only diagnostics need left out."""
    zero, shares = torch.zeros(()), torch.zeros(len(contrastive.MARGINS))

    def run() -> None:
        with (
            patch.object(contrastive, "mean_scores", lambda *_: (zero, zero)),
            patch.object(contrastive, "margin_over", lambda *_: shares),
            patch.object(contrastive, "near_zero", lambda *_: zero),
        ):
            epoch()

    return run


def row(widths: tuple[int, int, int], rounds: int) -> str:
    """Return the table row of one network."""
    model = CnnModel(widths=widths)
    epoch = teacher_epoch(model)
    times = interleaved({"with": epoch, "without": without_diagnostics(epoch)}, rounds=rounds)
    seconds = statistics.median(times["with"])
    look = looking(model, rounds)
    stage = seconds * STUDY.teacher.training.epochs
    return (
        f"| {widths} | {seconds * 1e3:.1f} | {100 * (ratio(times, 'with', 'without') - 1):+.1f} % |"
        f" {look * 1e3:.1f} | {100 * DIAGNOSES * look / stage:.1f} % of {stage:.1f} s |"
        f" {100 * DIAGNOSES * look / 60:.2f} % |"
    )


def looking(model: CnnModel, rounds: int) -> float:
    """Return the median CPU seconds of one look into the cache."""
    network, losses, stream, epoch = teacher_parts(model)
    epoch()
    part = losses["intra"]
    assert isinstance(part, contrastive.IntraClass)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        observe_cache(part, network, stream, 2)
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    """Measure and write the result."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 41
    torch.set_num_threads(1)
    write_result(
        "diagnosis-cost",
        [
            f"CPU milliseconds at one thread, medians of {rounds} rounds; the cost at every step is"
            " the median of per-round ratios of interleaved epochs.",
            "",
            "| teacher on digits, widths | epoch ms | diagnostics at every step | one look into the"
            " cache, ms | five looks, of the shipped stage | five looks, of a minute |",
            "| --- | --- | --- | --- | --- | --- |",
            *(row(widths, rounds) for widths in WIDTHS),
        ],
    )


if __name__ == "__main__":
    main()
