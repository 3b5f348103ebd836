"""Cost of the diagnostics at five epochs: `python bench/diagnosis_time.py`.

- stage: a real teacher on digits, wide enough that its stage takes more than a minute; seconds
  in the diagnostics against training seconds.
- CIFAR shape: one diagnosis of 5,000 validation images with 256 features and 100 classes (no
  sub-classes), and with 20 classes that hide 100 sub-classes; random numbers, for the cost alone.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from timing import write_result

from icckd.study.teacher import Teacher
from icckd.study.training import Numerics, Training
from icckd.train import trainer as engine
from icckd.train.contract import JobContext, TeacherJob
from icckd.train.data.splits import Split
from icckd.train.datasets.digits import DigitsData
from icckd.train.evaluate import series_on_validation
from icckd.train.losses.contrastive import IntraLoss
from icckd.train.metrics.base import Evaluation, Seen
from icckd.train.networks.cnn import CnnModel
from icckd.train.stage import train_teacher

EPOCHS = 60


class Silent:
    """A recorder that keeps nothing but the outcomes."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Drop an epoch."""

    def outcomes(self, values: Mapping[str, float], right: Sequence[bool] = ()) -> None:
        """Keep outcomes."""
        self.values |= values

    def log(self, message: str) -> None:
        """Drop a line."""


def stage() -> tuple[float, float, int]:
    """Return training seconds, seconds in the diagnostics, and how often they ran."""
    spent: list[float] = []

    def timed(validation: Evaluation, *, is_diagnosed: bool) -> dict[str, float]:
        start = time.perf_counter()
        values = series_on_validation(validation, is_diagnosed=is_diagnosed)
        if is_diagnosed:
            spent.append(time.perf_counter() - start)
        return values

    engine.series_on_validation = timed
    notes = Silent()
    teacher = Teacher(
        model=CnnModel(widths=(64, 128, 256)),
        training=Training(epochs=EPOCHS),
        views=2,
        intra=IntraLoss(),
    )
    job = TeacherJob(data=DigitsData(), teacher=teacher, numerics=Numerics(), seed=0)
    with tempfile.TemporaryDirectory() as folder:
        place = JobContext(device="cpu", data_root=Path(folder), artifact_folder=Path(folder))
        train_teacher(job, notes, place)
    return notes.values["teacher.seconds"], sum(spent), len(spent)


def cifar_shape(labels: int) -> float:
    """Return the median seconds of one diagnosis; 20 labels hide 100 sub-classes."""
    generator = torch.Generator().manual_seed(0)
    fine_N = torch.randint(100, (5000,), generator=generator)
    validation = Split(
        images=torch.zeros(5000, 1, 1, 3, dtype=torch.uint8),
        labels=fine_N if labels == 100 else fine_N // 5,
        subclasses=None if labels == 100 else fine_N,
    )
    seen = Seen(
        torch.randn(5000, 256, generator=generator).relu(),
        torch.randn(5000, labels, generator=generator),
    )
    times = []
    for _ in range(3):
        shown = Evaluation(
            model=None, normalise=None, split=validation, n_classes=labels, outputs=seen
        )
        start = time.perf_counter()
        series_on_validation(shown, is_diagnosed=True)
        times.append(time.perf_counter() - start)
    return sorted(times)[1]


def main() -> None:
    """Measure and write the result."""
    torch.set_num_threads(1)
    training, spent, count = stage()
    fine, coarse = cifar_shape(100), cifar_shape(20)
    write_result(
        "diagnosis-time",
        [
            f"A teacher of widths 64, 128, 256 on digits, {EPOCHS} epochs, one thread:"
            f" {training:.1f} s of training, {spent:.3f} s in {count} diagnoses:"
            f" {100 * spent / training:.2f} % (the aim is 2 % of a stage of more than a minute).",
            "",
            "| one diagnosis, CIFAR shape, one thread | seconds | five of them |",
            "| --- | --- | --- |",
            f"| 100 classes | {fine:.2f} | {5 * fine:.2f} |",
            f"| 20 classes that hide 100 sub-classes | {coarse:.2f} | {5 * coarse:.2f} |",
        ],
    )


if __name__ == "__main__":
    main()
