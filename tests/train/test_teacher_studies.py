"""The shipped studies of the teacher: each is valid, planned, and runs, shortened."""

from pathlib import Path

import pytest

from icckd.study.arms import arms, expand
from icckd.study.calibration import WEIGHT, matched_controls
from icckd.study.load import load
from icckd.train.contract import JobContext, StudentJob, TeacherJob
from icckd.train.stage import train_student, train_teacher
from tests.support.lanes import slow_but
from tests.support.plans import plan_of

STUDIES = Path(__file__).parents[2] / "studies"
NAMES = ("margin", "weight", "cache", "temperature", "subclass")
SHORT = ("study.seeds.count=1", "teacher.training.epochs=1", "student.training.epochs=1")
LONG_ENOUGH_TO_STOP = (
    SHORT[0], SHORT[2], "teacher.training.epochs=15", "teacher.training.batch_size=450",
    "data.validation=10",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_study_is_valid_and_planned_with_eight_paired_seeds(name):
    study = load(STUDIES / f"{name}.toml")
    plan = plan_of(study)

    assert len(plan.trials) == 8 * len(arms(study))
    assert len({stage.digest for stage in plan.stages.values()}) == 2 * len(plan.trials)


@pytest.mark.parametrize("name", ["ablations", "temperature"])
def test_a_study_with_matched_controls_can_be_calibrated(name):
    study = load(STUDIES / f"{name}.toml")
    controls = matched_controls(study, expand(study), None)

    assert study.study.calibration_seeds is not None
    for control in controls:
        assert any(change.path == WEIGHT for change in control.changes)


@pytest.mark.parametrize("name", slow_but(NAMES, "margin"))
def test_every_arm_of_a_study_trains_teacher_and_student_and_has_its_primary_outcome(
    name, tmp_path, notes_in
):
    study = load(STUDIES / f"{name}.toml", LONG_ENOUGH_TO_STOP if name == "subclass" else SHORT)
    for arm, method in expand(study).methods.items():
        seed = 0
        teacher, student = notes_in(tmp_path / arm), notes_in(tmp_path / f"{arm}-s")
        job = TeacherJob(
            data=method.data, teacher=method.teacher, numerics=study.numerics, seed=seed
        )
        train_teacher(job, teacher, place(tmp_path, teacher))
        follow = StudentJob(
            data=method.data, student=method.student, numerics=study.numerics, seed=seed,
            replicate=0, teacher_folder=teacher.folder,
        )  # fmt: skip
        train_student(follow, student, place(tmp_path, student))

        assert study.study.primary in teacher.values | student.values, arm


def place(root, notes):
    return JobContext(device="cpu", data_root=root, artifact_folder=notes.folder)
