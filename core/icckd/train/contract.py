"""What a stage is given, where it runs and what records its results; without torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from icckd.journal.file import NO_RETRY, DiskRetry
from icckd.study.data import Data
from icckd.study.model import Student
from icckd.study.records import Device
from icckd.study.teacher import Teacher
from icckd.study.training import Numerics, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherJob:
    """Train one teacher."""

    data: Data
    teacher: Teacher
    numerics: Numerics
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentJob:
    """Distil one student from a trained teacher, or train it alone where there is no folder.

    `replicate` counts the students of one teacher from 0; each has its own streams.
    """

    data: Data
    student: Student
    numerics: Numerics
    seed: int
    replicate: int
    teacher_folder: Path | None


def never() -> bool:
    """Return False: nothing asks the stage to stop."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """Where a job runs, and what it resumes from.

    Attributes:
        device: Kind of device that trains.
        data_root: Where data sets are kept.
        artifact_folder: Receives the artifact's files.
        disk_retry: Repeats a write that a full disk refuses; every file is written through it.
        checkpoint_folder: Where this stage's checkpoints are; None keeps none.
        checkpoint_seconds: Least time between two checkpoints; they are made at epoch ends.
        should_stop: Asked at epoch ends; when true the stage saves a checkpoint and raises
            StagePaused.
        is_cancelled: Asked at epoch ends in a pack; when true the stage is dropped.
        stage: The stage's digest; a checkpoint of another one is refused.
        attempt: The attempt's name, which its checkpoints carry.
    """

    device: Device
    data_root: Path
    artifact_folder: Path
    disk_retry: DiskRetry = NO_RETRY
    checkpoint_folder: Path | None = None
    checkpoint_seconds: float = 30.0
    should_stop: Callable[[], bool] = never
    is_cancelled: Callable[[], bool] = never
    stage: str = ""
    attempt: str = ""


class Recorder(Protocol):
    """Receives what a stage measures, in the order in which it happens."""

    def resumed(
        self, series: Sequence[Mapping[str, float]], *, attempt: str, seconds: float
    ) -> None:
        """Record that the stage resumes from a checkpoint, before its first epoch here.

        Args:
            series: The series values of each epoch until then, from epoch 1 on.
            attempt: The attempt that wrote the checkpoint.
            seconds: Seconds on the clock that these epochs took, in all attempts.
        """

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record series values at the end of an epoch, counted from 1."""

    def outcomes(self, values: Mapping[str, float], right: Sequence[bool] = ()) -> None:
        """Record values that belong to the stage as a whole.

        Args:
            values: The outcomes by name.
            right: Of each test image whether the model was right, in their order; none if unknown.
        """

    def log(self, message: str) -> None:
        """Record one line for the reader of the log."""


# The training version: part of every stage's identity. Torch-free.
#
# Raised whenever the same job yields other numbers on purpose. It belongs to one sort of numerics,
# so that a fault mended on GPUs alone lets the results of CPUs stand (docs/adr/0018).

EAGER_FP32_ON_A_CPU = 2
PACKED = 3
EVERYTHING_ELSE = 3


def code_epoch(*, device: str, precision: Precision, compiled: bool, packed: bool = False) -> int:
    """Return the training version of a sort of numerics."""
    if packed:
        return PACKED
    if device == "cpu" and precision == "fp32" and not compiled:
        return EAGER_FP32_ON_A_CPU
    return EVERYTHING_ELSE
