"""Cost of a checkpoint and of going on from it: `python bench/resume_cost.py [ROUNDS]`.

Bytes on disk, and milliseconds at one thread of saving one (copy, write, sync, rename) and of
reading it back. The networks, the cache and the table of step values have the sizes of real stages
at their last epoch; their contents do not matter here. A stage saves one at most every 30 seconds.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from timing import write_result
from torch import nn

from icckd.study.training import Training
from icckd.train.checkpoint import Checkpoints
from icckd.train.contract import JobContext
from icckd.train.losses.contrastive import EmbeddingCache
from icckd.train.networks import build_model
from icckd.train.networks.cifar import CifarModel
from icckd.train.networks.cnn import CnnModel
from icckd.train.networks.torchvision import TorchvisionModel
from icckd.train.optim import make_optimizer
from icckd.train.trainer import StageMemory, StepLog, TrainingState

RESNET56 = CifarModel(kind="cifar", name="resnet56")
RESNET32X4 = CifarModel(kind="cifar", name="resnet32x4")
RESNET34 = TorchvisionModel(kind="torchvision", name="resnet34")
STAGES = {
    "digits teacher of ablations.toml": (CnnModel(), 5, 64, 30, 7),
    "CIFAR-100 resnet56 teacher": (RESNET56, 100, 64, 240, 703),
    "CIFAR-100 resnet32x4 teacher": (RESNET32X4, 100, 64, 240, 703),
    "ImageNet ResNet34 teacher": (RESNET34, 1000, 16, 100, 2482),
}


class Silent:
    """A recorder that nobody reads."""

    def resumed(self, series: object, *, attempt: str, seconds: float) -> None:
        """Take where a stage goes on."""

    def epoch(self, epoch: int, values: object) -> None:
        """Take an epoch."""

    def outcomes(self, values: object, right: object = ()) -> None:
        """Take outcomes."""

    def log(self, message: str) -> None:
        """Print a line: a checkpoint that is not used would spoil the measurement."""
        print(message)


def course_of(name: str) -> tuple[TrainingState, int]:
    """Return a stage after its last epoch but one, and the steps of an epoch."""
    settings, classes, per_class, epochs, steps = STAGES[name]
    channels = 1 if settings.kind == "cnn" else 3
    model = build_model(settings, in_channels=channels, n_classes=classes, key=("b",), device="cpu")
    state = nn.Module()
    state.add_module("cache", EmbeddingCache(classes, per_class, model.classifier.in_features))
    optimizer = make_optimizer(model.parameters(), Training())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0.1)
    optimizer.clear()
    log = StepLog(
        ("ce", "intra", "grad_norm", "ratio", "share", "negatives"), epochs * steps, "cpu"
    )
    log.restore(torch.zeros((epochs - 1) * steps, 6))
    course = TrainingState(
        model=model,
        state=state,
        optimizer=optimizer,
        log=log,
        memory=StageMemory("cpu"),
        loss_scale=None,
    )
    for epoch in range(1, epochs):
        course.record(Silent(), {f"teacher.series{n}": epoch / (n + 1) for n in range(12)})
    return course, steps


def row(name: str, rounds: int) -> str:
    """Return the table row of one stage."""
    course, steps = course_of(name)
    folder = Path(tempfile.mkdtemp())
    place = JobContext(
        device="cpu", data_root=folder, artifact_folder=folder, stage=name, attempt="bench",
        checkpoint_folder=folder / "kept", checkpoint_seconds=0.0,
    )  # fmt: skip
    saving: list[tuple[float, float]] = []
    reading: list[tuple[float, float]] = []
    for _ in range(rounds):
        with _Clock(saving):
            Checkpoints(place, Silent()).after_epoch(course.snapshot)
        fresh, _ = course_of(name)
        fresh.series.clear()
        with _Clock(reading):
            done = fresh.resume(Checkpoints(place, Silent()), Silent(), steps_per_epoch=steps)
        assert done == len(course.series)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder)
    columns = [*zip(*saving, strict=True), *zip(*reading, strict=True)]
    cells = [f"{statistics.median(seconds) * 1e3:.1f}" for seconds in columns]
    return f"| {name} | {size / 1e6:.2f} | {' | '.join(cells)} |"


class _Clock:
    """Appends CPU and wall seconds of a block."""

    def __init__(self, times: list[tuple[float, float]]) -> None:
        self._times = times

    def __enter__(self) -> None:
        self._start = time.process_time(), time.perf_counter()

    def __exit__(self, *error: object) -> None:
        cpu, wall = self._start
        self._times.append((time.process_time() - cpu, time.perf_counter() - wall))


def main() -> None:
    """Measure and write the result."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    torch.set_num_threads(1)
    write_result(
        "resume-cost",
        [
            f"One checkpoint at the last epoch but one; medians of {rounds} rounds, one thread.",
            "",
            "| stage | MB | save: CPU ms | save: wall ms | resume: CPU ms | resume: wall ms |",
            "| --- | --- | --- | --- | --- | --- |",
            *(row(name, rounds) for name in STAGES),
        ],
    )


if __name__ == "__main__":
    main()
