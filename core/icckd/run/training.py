"""A stage of icckd's own engine in a worker: what it is trained from, checked, and its training.

Whoever imports this module loads torch.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from icckd.errors import MachineError
from icckd.journal.artifacts import verified
from icckd.journal.folder import StateFolder
from icckd.run.messages import Order
from icckd.study.data import Data
from icckd.study.model import Student
from icckd.study.plan import StageJob
from icckd.study.records import Device, EngineKind
from icckd.study.source import source_of
from icckd.study.teacher import Teacher
from icckd.train import device
from icckd.train.contract import JobContext, Recorder, StudentJob, TeacherJob
from icckd.train.data.files import fingerprint
from icckd.train.packs.stage import Ended, Place
from icckd.train.packs.student import train_students
from icckd.train.packs.teacher import train_teachers
from icckd.train.precision import bits_depend_on
from icckd.train.precision import environment as environment
from icckd.train.stage import train_student, train_teacher

if TYPE_CHECKING:
    from icckd.run.attempt import Attempt

_DATA: TypeAdapter[Data] = TypeAdapter(Data)


def gpu_trouble() -> str:
    """Return why this process cannot use its GPU just now; "" when it can."""
    return device.trouble()


def hardware(kind: Device) -> str:
    """Return the model of the device that this process trains on."""
    return bits_depend_on(kind)["device"]


def train_stage(order: Order, folder: StateFolder, recorder: Recorder, context: JobContext) -> None:
    """Train a teacher or a student.

    Raises:
        MachineError: Data or source changed since the plan was made.
        StageError: It cannot continue.
        StagePaused: The context asked to stop.
    """
    if order.stage.kind == "teacher":
        train_teacher(_teacher_job(order, context), recorder, context)
    else:
        train_student(_student_job(order, folder, context), recorder, context)


def train_pack(attempts: Mapping[int, "Attempt"], folder: StateFolder, ended: Ended) -> None:
    """Train stages of one shape together; what is wrong with all of them is raised.

    Args:
        attempts: Their attempts, by number.
        folder: The state folder.
        ended: Told of each attempt, by its number, once: None, or an error as of `train_stage`.
    """
    teachers: list[Place[TeacherJob]] = []
    students: list[Place[StudentJob]] = []
    numbers = []
    for number, made in attempts.items():
        order, recorder, context = made.order, made.recorder, made.context
        try:
            if order.stage.kind == "teacher":
                teacher = _teacher_job(order, context)
                teachers.append(Place(job=teacher, recorder=recorder, context=context))
            else:
                student = _student_job(order, folder, context)
                students.append(Place(job=student, recorder=recorder, context=context))
        except Exception as error:
            ended(number, error)
        else:
            numbers.append(number)

    def told(place: int, error: Exception | None) -> None:
        ended(numbers[place], error)

    if teachers:
        train_teachers(teachers, told)
    elif students:
        train_students(students, told)


def _teacher_job(order: Order, context: JobContext) -> TeacherJob:
    stage, data = order.stage, _data_of(order, context)
    settings = Teacher.model_validate_json(json.dumps(stage.settings["teacher"]))
    _check_source(stage, "teacher", settings, data)
    numerics = stage.numerics.settings()
    return TeacherJob(data=data, teacher=settings, numerics=numerics, seed=stage.seed)


def _student_job(order: Order, folder: StateFolder, context: JobContext) -> StudentJob:
    stage, data = order.stage, _data_of(order, context)
    settings = Student.model_validate_json(json.dumps(stage.settings["student"]))
    _check_source(stage, "student", settings, data)
    return StudentJob(
        data=data,
        student=settings,
        numerics=stage.numerics.settings(),
        seed=stage.seed,
        replicate=stage.replicate,
        teacher_folder=verified(folder, stage.inputs["teacher"]) if stage.inputs else None,
    )


def _data_of(order: Order, context: JobContext) -> Data:
    """Return the settings of a stage's data, whose files are those that the plan was made for.

    Raises:
        MachineError: They changed.
    """
    data = _DATA.validate_json(json.dumps(order.stage.settings["data"]))
    if fingerprint(data, context.data_root) != order.stage.fingerprint:
        raise MachineError(
            "the data set changed since the plan was made", hint="run the study again"
        )
    return data


def _check_source(stage: StageJob, kind: EngineKind, role: Teacher | Student, data: Data) -> None:
    """Refuse a stage whose source is not what the plan was made for: its identity would lie.

    Raises:
        MachineError: This process began after a file was changed.
    """
    if source_of(kind, role, data, stage.numerics.packed).digest != stage.source.digest:
        raise MachineError(
            "icckd's source changed since the plan was made", hint="run the study again"
        )
