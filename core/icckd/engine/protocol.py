"""What the engine is given and whom it tells: no torch here."""

from collections.abc import Mapping
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
    """Distil one student from a trained teacher.

    `replicate` counts the students of one teacher from 0; each has its own streams.
    """

    data: Data
    student: Student
    numerics: Numerics
    seed: int
    replicate: int
    teacher_folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a job runs: device, data set root, folder that receives the artifact's files.

    `patience` repeats a write that a full disk refuses; every file is written through it.
    """

    device: Literal["cpu", "cuda"]
    data_root: Path
    artifact_folder: Path
    patience: Patience = IMPATIENT


class Recorder(Protocol):
    """Receives what a stage measures, in the order in which it happens."""

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record series values at the end of an epoch, counted from 1."""

    def outcomes(self, values: Mapping[str, float]) -> None:
        """Record values that belong to the stage as a whole."""

    def log(self, message: str) -> None:
        """Record one line for the reader of the log."""
