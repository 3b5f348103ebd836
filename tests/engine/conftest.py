"""Jobs small enough to train in a fraction of a second."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from icckd.engine.protocol import Place, StudentJob, TeacherJob
from icckd.engine.run import train_student, train_teacher
from icckd.spec.data import DigitsData
from icckd.spec.models import CnnModel
from icckd.spec.student import Student
from icckd.spec.teacher import Teacher
from icckd.spec.training import Numerics, Training

torch.set_num_threads(1)

TINY = DigitsData(train=170, validation=40)
PLAIN = Numerics()
BRIEF = Training(epochs=3, batch_size=32)


@dataclass
class Notes:
    """A recorder that keeps everything."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    resumed_after: int = 0
    folder: Path = Path()

    def resumed(self, series, *, attempt, seconds):
        assert not self.epochs
        assert seconds > 0
        self.epochs = [dict(values) for values in series]
        self.resumed_after = len(series)

    def epoch(self, epoch, values):
        assert epoch == len(self.epochs) + 1
        self.epochs.append(dict(values))

    def outcomes(self, values):
        assert not set(values) & set(self.values)
        self.values |= values

    def log(self, message):
        self.lines.append(message)

    @property
    def weights(self):
        return (self.folder / "model.safetensors").read_bytes()


@pytest.fixture
def notes_in():
    """Return a recorder for an artifact folder."""
    return lambda folder: Notes(folder=folder)


@pytest.fixture
def run_teacher(tmp_path):
    """Train a small teacher with some settings changed, and return the notes."""
    count = iter(range(1000))

    def run(
        *, data=TINY, seed=0, device="cpu", training=BRIEF, place=None,
        numerics=PLAIN, **settings,
    ):  # fmt: skip
        notes = Notes(folder=tmp_path / f"teacher-{next(count)}")
        model = settings.pop("model", CnnModel(widths=(4, 4, 8)))
        teacher = Teacher(model=model, training=training, **settings)
        job = TeacherJob(data=data, teacher=teacher, numerics=numerics, seed=seed)
        folders = {"data_root": tmp_path, "artifact_folder": notes.folder}
        train_teacher(job, notes, Place(device=device, **folders, **(place or {})))
        return notes

    return run


@pytest.fixture
def run_student(tmp_path):
    """Distil a small student from a teacher's folder, and return the notes."""
    count = iter(range(1000))

    def run(
        teacher_folder, *, data=TINY, seed=0, replicate=0, device="cpu", training=BRIEF,
        place=None, numerics=PLAIN, **s,
    ):  # fmt: skip
        notes = Notes(folder=tmp_path / f"student-{next(count)}")
        model = s.pop("model", CnnModel(widths=(2, 4, 4)))
        student = Student(model=model, training=training, **s)
        job = StudentJob(
            data=data,
            student=student,
            numerics=numerics,
            seed=seed,
            replicate=replicate,
            teacher_folder=teacher_folder,
        )
        folders = {"data_root": tmp_path, "artifact_folder": notes.folder}
        train_student(job, notes, Place(device=device, **folders, **(place or {})))
        return notes

    return run
