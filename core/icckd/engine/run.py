"""Entry points: run one stage in this process."""

from typing import Literal

from icckd.engine.checkpoint import Checkpoints
from icckd.engine.distillers import save_learnt
from icckd.engine.fit_student import fit_student
from icckd.engine.fit_teacher import fit_teacher
from icckd.engine.material import Material, load_material
from icckd.engine.memory import StageMemory
from icckd.engine.models import Classifier, load_model, save_model
from icckd.engine.models.count import count_macs, count_parameters
from icckd.engine.numerics import environment, prepare
from icckd.engine.outcomes import outcomes_on_test
from icckd.engine.protocol import Place, Recorder, StudentJob, TeacherJob
from icckd.errors import StageError
from icckd.spec.models import Model

__all__ = ["environment", "prepare", "train_student", "train_teacher"]

Kind = Literal["teacher", "student"]


def train_teacher(job: TeacherJob, recorder: Recorder, place: Place) -> None:
    """Train a teacher, record what it shows, and write the model into the artifact folder.

    Raises:
        MachineError: If the device or the data set is missing.
        NonFiniteError: If a loss or the gradient norm is not finite.
        StagePaused: If the place asked the stage to stop.
    """
    prepare(place.device, job.numerics)
    memory = StageMemory(place.device)
    material = load_material(job.data, place)
    model, outcomes = fit_teacher(job, material, recorder, Checkpoints(place, recorder))
    _finish("teacher", model, job.teacher.model, outcomes, memory, material, recorder, place)


def train_student(job: StudentJob, recorder: Recorder, place: Place) -> None:
    """Distil a student, record what it shows, and write the model into the artifact folder.

    Raises:
        MachineError: If the device or the data set is missing.
        NonFiniteError: If a loss or the gradient norm is not finite.
        StagePaused: If the place asked the stage to stop.
        StageError: If the teacher cannot be read or was trained on other data.
    """
    prepare(place.device, job.numerics)
    memory = StageMemory(place.device)
    material = load_material(job.data, place)
    teacher = None
    if job.teacher_folder is not None:
        teacher = load_model(job.teacher_folder, device=place.device)
    if teacher is not None and teacher.classifier.out_features != material.n_classes:
        raise StageError(
            f"the teacher knows {teacher.classifier.out_features} classes, the data have"
            f" {material.n_classes}",
            hint="train teacher and student on the same labels",
        )
    checkpoints = Checkpoints(place, recorder)
    model, learnt, outcomes = fit_student(job, teacher, material, recorder, checkpoints)
    _finish(
        "student",
        model,
        job.student.model,
        outcomes,
        memory,
        material,
        recorder,
        place,
        teacher=teacher,
    )
    place.patience(lambda: save_learnt(learnt, place.artifact_folder))


def _finish(
    kind: Kind,
    model: Classifier,
    settings: Model,
    outcomes: dict[str, float],
    memory: StageMemory,
    material: Material,
    recorder: Recorder,
    place: Place,
    *,
    teacher: Classifier | None = None,
) -> None:
    """Read the memory peaks, test once, write the artifact, record the outcomes."""
    values = outcomes | memory.outcomes()
    if not memory.is_exact:
        recorder.log("memory_rss is the peak of the whole process: its mark cannot be reset here")
    values |= outcomes_on_test(model, material, teacher) | _size(model, material)
    place.artifact_folder.mkdir(parents=True, exist_ok=True)
    place.patience(
        lambda: save_model(
            model,
            settings,
            in_channels=material.in_channels,
            n_classes=material.n_classes,
            folder=place.artifact_folder,
        )
    )
    recorder.outcomes({f"{kind}.{name}": value for name, value in values.items()})


def _size(model: Classifier, material: Material) -> dict[str, float]:
    image = material.normalise(material.train.images[:1])
    return {"parameters": count_parameters(model), "macs": count_macs(model, image)}
