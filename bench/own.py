"""One epoch of our own teacher and student, on the shipped study's settings."""

from collections.abc import Callable
from pathlib import Path

from torch.optim import SGD

from icckd.study.distillers import Distiller
from icckd.study.load import load
from icckd.study.model import Student, Study
from icckd.study.teacher import Teacher
from icckd.train.contract import JobContext
from icckd.train.data.dataset import Dataset, load_dataset
from icckd.train.data.stream import TrainStream
from icckd.train.distillers import build_distiller
from icckd.train.distillers.base import Pairing
from icckd.train.losses.base import TeacherLoss
from icckd.train.networks import build_model
from icckd.train.networks.base import Classifier
from icckd.train.networks.cnn import CnnModel
from icckd.train.precision import PLAIN
from icckd.train.student import (
    AloneStep,
    StudentStep,
    TeacherForward,
    TeacherOutputs,
    example_output,
    teacher_outputs,
)
from icckd.train.teacher import TeacherStep, build_losses, train_stream
from icckd.train.trainer import Step

ROOT = Path(__file__).parents[1]
STUDY = load(ROOT / "studies" / "ablations.toml")


def teacher_epoch(network: CnnModel | None = None, *, study: Study = STUDY) -> Callable[[], None]:
    """Return a function that trains one epoch of the teacher of a study, the shipped one."""
    return teacher_parts(network, study=study)[3]


def teacher_parts(
    network: CnnModel | None = None, *, study: Study = STUDY
) -> tuple[Classifier, dict[str, TeacherLoss], TrainStream, Callable[[], None]]:
    """Return the teacher, its losses, its stream, and a function that trains one epoch."""
    settings: Teacher = study.teacher
    material = _material(study)
    model = _model(network or settings.model, "teacher", material)
    losses = build_losses(settings, model, material, ("bench", 0))
    stream = train_stream(settings, material, ("bench", 0))
    return model, losses, stream, _epochs(stream, model, TeacherStep(model, losses, settings))


def student_epoch(distiller: Distiller | None = None, *, asked: bool = False) -> Callable[[], None]:
    """Return a function that trains one epoch of the shipped study's student, or by a distiller.

    With `asked` the teacher's forward pass runs in every step, table or not.
    """
    settings: Student = STUDY.student
    material = _material(STUDY)
    model = _model(settings.model, "student", material)
    chosen = settings.distiller if distiller is None else distiller
    stream = TrainStream(
        material.train, material.normalise, material.augment,
        batch_size=64, views=1, key=("bench", 0),
    )  # fmt: skip
    if chosen == "off":
        return _epochs(stream, model, AloneStep(model))
    teacher = _model(STUDY.teacher.model, "teacher", material).eval()
    example = example_output(teacher, material)
    pairing = Pairing(
        student=example_output(model, material), teacher=example,
        labels=material.train.labels, key=("bench", 0, "distiller"),
    )  # fmt: skip
    told: TeacherOutputs = TeacherForward(teacher, PLAIN)
    if not (asked or chosen.reads_maps):
        told = teacher_outputs(
            TeacherForward(teacher, PLAIN), example, stream, settings.training, "cpu"
        )
    return _epochs(stream, model, StudentStep(model, told, build_distiller(chosen, pairing)))


def _material(study: Study) -> Dataset:
    place = JobContext(device="cpu", data_root=ROOT / "data", artifact_folder=ROOT)
    return load_dataset(study.data, place)


def _model(settings: CnnModel, role: str, material: Dataset) -> Classifier:
    classes = material.n_classes
    return build_model(
        settings, in_channels=1, n_classes=classes, key=(role, 0, "init"), device="cpu"
    )


def _epochs(stream: TrainStream, model: Classifier, step: Step) -> Callable[[], None]:
    parameters = [*model.parameters(), *step.state.parameters()]
    optimiser = SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4, fused=True)

    def epoch() -> None:
        model.train()
        for number, batch in enumerate(stream.epoch(2)):
            optimiser.zero_grad(set_to_none=True)
            step(batch, step=number, epoch=2)
            optimiser.step()

    return epoch
