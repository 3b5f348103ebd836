"""Entry points: run one stage in this process."""

from pathlib import Path

from icckd.errors import StageError
from icckd.study.network import Model
from icckd.study.records import EngineKind
from icckd.train.checkpoint import Checkpoints
from icckd.train.contract import JobContext, Recorder, StudentJob, TeacherJob
from icckd.train.data.dataset import Dataset, load_dataset
from icckd.train.distillers import save_learnt
from icckd.train.evaluate import NOT_SHOWN, Shown, outcomes_on_test
from icckd.train.networks import load_model, save_model
from icckd.train.networks.base import Classifier, count_macs, count_parameters
from icckd.train.precision import environment, full_fp32, prepare
from icckd.train.student import fit_student
from icckd.train.teacher import fit_teacher
from icckd.train.trainer import StageMemory, Trained, divergence

__all__ = ["environment", "prepare", "train_student", "train_teacher"]

Kind = EngineKind


def train_teacher(job: TeacherJob, recorder: Recorder, context: JobContext) -> None:
    """Train a teacher, record what it shows, and write the model into the artifact folder.

    Raises:
        MachineError: If the device or the data set is missing.
        NonFiniteError: If a loss, the gradient norm or an output is not finite.
        StagePaused: If the context asked the stage to stop.
    """
    prepare(context.device, job.numerics)
    memory = StageMemory(context.device)
    dataset = load_dataset(job.data, context, job.numerics.precision)
    checkpoints = Checkpoints(context, recorder, job.numerics)
    trained = fit_teacher(job, dataset, recorder, checkpoints, memory)
    finish("teacher", trained, job.teacher.model, memory, dataset, recorder, context)


def train_student(job: StudentJob, recorder: Recorder, context: JobContext) -> None:
    """Distil a student, record what it shows, and write the model into the artifact folder.

    Raises:
        MachineError: If the device or the data set is missing.
        NonFiniteError: If a loss, the gradient norm or an output is not finite.
        StagePaused: If the context asked the stage to stop.
        StageError: If the teacher cannot be read or was trained on other data.
    """
    prepare(context.device, job.numerics)
    memory = StageMemory(context.device)
    dataset = load_dataset(job.data, context, job.numerics.precision)
    teacher = None
    if job.teacher_folder is not None:
        teacher = read_teacher(job.teacher_folder, dataset)
    checkpoints = Checkpoints(context, recorder, job.numerics)
    trained = fit_student(job, teacher, dataset, recorder, checkpoints, memory)
    finish(
        "student",
        trained,
        job.student.model,
        memory,
        dataset,
        recorder,
        context,
        teacher=teacher,
    )
    context.disk_retry(lambda: save_learnt(trained.state, context.artifact_folder))


def read_teacher(folder: Path, dataset: Dataset) -> Classifier:
    """Return a trained teacher, in evaluation mode.

    Raises:
        StageError: If it cannot be read or was trained on other data.
    """
    teacher = load_model(folder, device=dataset.device, precision=dataset.precision)
    if teacher.classifier.out_features != dataset.n_classes:
        raise StageError(
            f"the teacher knows {teacher.classifier.out_features} classes, the data have"
            f" {dataset.n_classes}",
            hint="train teacher and student on the same labels",
        )
    return teacher


def finish(  # noqa: PLR0913  # the last step of both kinds of stage
    kind: Kind,
    trained: Trained,
    settings: Model,
    memory: StageMemory | None,
    dataset: Dataset,
    recorder: Recorder,
    context: JobContext,
    *,
    teacher: Classifier | None = None,
    shown: Shown = NOT_SHOWN,
) -> None:
    """Read the memory peaks, test once, write the artifact, record the outcomes.

    Without `memory` none was measured. `shown` is what is known of the outputs already.
    """
    model = trained.model
    values = trained.outcomes | (memory.outcomes() if memory else {})
    last_step = len(trained.fit.terms["ce"]) - 1
    if memory and not memory.is_exact:
        recorder.log("memory_rss is the peak of the whole process: its mark cannot be reset here")
    with divergence(kind, recorder, last_step, teacher), full_fp32():
        tested = outcomes_on_test(model, dataset, teacher, shown)
        values |= tested.values | _size(model, dataset)
    context.artifact_folder.mkdir(parents=True, exist_ok=True)
    context.disk_retry(
        lambda: save_model(
            model,
            settings,
            in_channels=dataset.in_channels,
            n_classes=dataset.n_classes,
            folder=context.artifact_folder,
        )
    )
    context.disk_retry(lambda: trained.fit.save_steps(context.artifact_folder))
    recorder.outcomes({f"{kind}.{name}": value for name, value in values.items()}, tested.right)


def _size(model: Classifier, dataset: Dataset) -> dict[str, float]:
    image = dataset.normalise(dataset.train.images[:1])
    return {"parameters": count_parameters(model), "macs": count_macs(model, image)}
