"""Jobs small enough to train in a fraction of a second."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from icckd.study.model import Student
from icckd.study.teacher import Teacher
from icckd.study.training import Numerics, Training
from icckd.train.contract import JobContext, StudentJob, TeacherJob
from icckd.train.data.dataset import load_dataset
from icckd.train.datasets.digits import DigitsData
from icckd.train.losses.contrastive import IntraLoss
from icckd.train.networks.cnn import CnnModel
from icckd.train.stage import train_student, train_teacher

torch.set_num_threads(1)

TINY = DigitsData(train=170, validation=40)
PLAIN = Numerics()
BRIEF = Training(epochs=3, batch_size=32)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """The smallest set of digits, loaded."""
    folder = tmp_path_factory.mktemp("data")
    place = JobContext(device="cpu", data_root=folder, artifact_folder=folder)
    return load_dataset(TINY, place)


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

    def outcomes(self, values, right=()):
        assert not set(values) & set(self.values)
        self.values |= values
        self.right = right

    def log(self, message):
        self.lines.append(message)

    @property
    def weights(self):
        return (self.folder / "model.safetensors").read_bytes()


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Each kind of device; "cuda" runs with `-m gpu`."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture
def notes_in():
    """Return a recorder for an artifact folder."""
    return lambda folder: Notes(folder=folder)


@pytest.fixture
def run_teacher(tmp_path):
    """Train a small teacher with some settings changed, and return the notes."""
    return teachers_in(tmp_path)


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory):
    """The artifact of a small teacher with no setting changed; tests only read it."""
    return teachers_in(tmp_path_factory.mktemp("teacher"))().folder


def teachers_in(root):
    count = iter(range(1000))

    def run(
        *, data=TINY, seed=0, device="cpu", training=BRIEF, place=None,
        numerics=PLAIN, **settings,
    ):  # fmt: skip
        notes = Notes(folder=root / f"teacher-{next(count)}")
        model = settings.pop("model", CnnModel(widths=(4, 4, 8)))
        settings = {"intra": IntraLoss(), "views": 2} | settings
        teacher = Teacher(model=model, training=training, **settings)
        job = TeacherJob(data=data, teacher=teacher, numerics=numerics, seed=seed)
        folders = {"data_root": root, "artifact_folder": notes.folder}
        train_teacher(job, notes, JobContext(device=device, **folders, **(place or {})))
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
        train_student(job, notes, JobContext(device=device, **folders, **(place or {})))
        return notes

    return run
