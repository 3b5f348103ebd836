"""Every study that ships can be read and planned, whether its data are here or not."""

from pathlib import Path

import pytest

from icckd.design import expand
from icckd.plan import Ground, build, datasets, numerics_class
from icckd.spec.load import load

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))


def plan_of(study):
    trials = expand(study)
    ground = Ground(
        numerics=numerics_class(study.numerics, "cuda"),
        fingerprints=tuple((data, "f" * 64) for data in datasets(trials)),
        code_epoch=1,
        compile_long=study.numerics.compile == "auto",
    )
    return build(trials, ground, students_per_teacher=study.study.students_per_teacher)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_has_a_plan(path):
    study = load(path)
    plan = plan_of(study)

    assert plan.arms[0].name == study.study.baseline
    assert len(plan.trials) == len(plan.arms) * study.study.seeds.count


def test_names_of_shipped_studies_are_their_own():
    names = [load(path).study.name for path in STUDIES]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "teacher", "student"),
    [
        ("cifar100-ablations", (240, 64, 0.05), (240, 64, 0.05)),
        ("tiny-imagenet", (200, 256, 0.2), (200, 256, 0.2)),
        ("imagenet", (100, 512, 0.2), (100, 512, 0.2)),
    ],
)
def test_large_studies_train_by_the_published_schedules(name, teacher, student):
    study = load(next(path for path in STUDIES if path.stem == name))

    for training, expected in (
        (study.teacher.training, teacher),
        (study.student.training, student),
    ):
        assert (training.epochs, training.batch_size, training.lr) == expected
    assert all(stage.numerics.compiled for stage in plan_of(study).stages.values())
