"""A stage of icckd's own engine in a worker: what it is trained from, checked, and its training.

Whoever imports this module loads torch.
"""

import json

from pydantic import TypeAdapter

from icckd.errors import MachineError
from icckd.journal.artifacts import verified
from icckd.journal.folder import StateFolder
from icckd.run.messages import Order
from icckd.study.data import Data
from icckd.study.model import Student
from icckd.study.plan import StageJob
from icckd.study.records import EngineKind
from icckd.study.source import source_of
from icckd.study.teacher import Teacher
from icckd.train import device
from icckd.train.contract import JobContext, Recorder, StudentJob, TeacherJob
from icckd.train.data.files import fingerprint
from icckd.train.precision import environment as environment
from icckd.train.stage import train_student, train_teacher

_DATA: TypeAdapter[Data] = TypeAdapter(Data)


def gpu_trouble() -> str:
    """Return why this process cannot use its GPU just now; "" when it can."""
    return device.trouble()


def train_stage(order: Order, folder: StateFolder, recorder: Recorder, context: JobContext) -> None:
    """Train a teacher or a student.

    Raises:
        MachineError: Data or source changed since the plan was made.
        StageError: It cannot continue.
        StagePaused: The context asked to stop.
    """
    stage = order.stage
    settings = {name: json.dumps(value) for name, value in stage.settings.items()}
    data = _DATA.validate_json(settings["data"])
    numerics = stage.numerics.settings()
    if fingerprint(data, context.data_root) != stage.fingerprint:
        raise MachineError(
            "the data set changed since the plan was made", hint="run the study again"
        )
    if stage.kind == "teacher":
        teacher_settings = Teacher.model_validate_json(settings["teacher"])
        _check_source(stage, "teacher", teacher_settings, data)
        teacher = TeacherJob(
            data=data, teacher=teacher_settings, numerics=numerics, seed=stage.seed
        )
        train_teacher(teacher, recorder, context)
    else:
        student_settings = Student.model_validate_json(settings["student"])
        _check_source(stage, "student", student_settings, data)
        student = StudentJob(
            data=data,
            student=student_settings,
            numerics=numerics,
            seed=stage.seed,
            replicate=stage.replicate,
            teacher_folder=verified(folder, stage.inputs["teacher"]) if stage.inputs else None,
        )
        train_student(student, recorder, context)


def _check_source(stage: StageJob, kind: EngineKind, role: Teacher | Student, data: Data) -> None:
    """Refuse a stage whose source is not what the plan was made for: its identity would lie.

    Raises:
        MachineError: This process began after a file was changed.
    """
    if source_of(kind, role, data).digest != stage.source.digest:
        raise MachineError(
            "icckd's source changed since the plan was made", hint="run the study again"
        )
