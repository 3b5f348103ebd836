"""What the engine is given and whom it tells: no torch here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from icckd.journal.patience import IMPATIENT, Patience
from icckd.spec.data import Data
from icckd.spec.student import Student
from icckd.spec.teacher import Teacher
from icckd.spec.training import Numerics


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherJob:
    """Train one teacher."""

    data: Data
    teacher: Teacher
    numerics: Numerics
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentJob:
    """Distil one student from a trained teacher; without a folder there is none.

    `replicate` counts the students of one teacher from 0; each has its own streams.
    """

    data: Data
    student: Student
    numerics: Numerics
    seed: int
    replicate: int
    teacher_folder: Path | None


def never() -> bool:
    """Say no: nothing asks the stage to stop."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a job runs, and where it may go on.

    Attributes:
        device: Kind of device that trains.
        data_root: Where data sets are kept.
        artifact_folder: Receives the artifact's files.
        patience: Repeats a write that a full disk refuses; every file is written through it.
        checkpoint_folder: Where this stage's checkpoints are; None keeps none.
        checkpoint_seconds: Least time between two checkpoints; they are made at epoch ends.
        should_stop: Asked at epoch ends; when true the stage saves a checkpoint and raises
            StagePaused.
        stage: The stage's digest; a checkpoint of another one is refused.
        attempt: The attempt's name, which its checkpoints carry.
    """

    device: Literal["cpu", "cuda"]
    data_root: Path
    artifact_folder: Path
    patience: Patience = IMPATIENT
    checkpoint_folder: Path | None = None
    checkpoint_seconds: float = 30.0
    should_stop: Callable[[], bool] = never
    stage: str = ""
    attempt: str = ""


class Recorder(Protocol):
    """Receives what a stage measures, in the order in which it happens."""

    def resumed(
        self, series: Sequence[Mapping[str, float]], *, attempt: str, seconds: float
    ) -> None:
        """Record that the stage goes on from a checkpoint, before its first epoch here.

        Args:
            series: The series values of each epoch until then, from epoch 1 on.
            attempt: The attempt that wrote the checkpoint.
            seconds: Seconds on the clock that these epochs took, in all attempts.
        """

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record series values at the end of an epoch, counted from 1."""

    def outcomes(self, values: Mapping[str, float]) -> None:
        """Record values that belong to the stage as a whole."""

    def log(self, message: str) -> None:
        """Record one line for the reader of the log."""
