"""Every study that ships can be read and planned, whether its data are here or not."""

import tomllib
from pathlib import Path

import pytest

from icckd.errors import SpecError, UsageError
from icckd.study.ablation_plans.bind import Binder
from icckd.study.ablation_plans.coverage import coverage
from icckd.study.ablation_plans.edit import entry_of
from icckd.study.ablation_plans.records import AblationPlan
from icckd.study.load import load
from icckd.study.requested import open_of
from icckd.study.shipped import shipped_names, study_path
from tests.support.plans import plan_of

FOLDER = Path(__file__).parents[2] / "studies"
PLANS = sorted((FOLDER / "plans").glob("*.toml"))
STUDIES = [*sorted(FOLDER.glob("*.toml")), *PLANS]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_has_a_plan(path):
    study = load(path)
    plan = plan_of(study, "cuda")

    assert plan.arms[0].name == study.study.baseline
    assert len(plan.trials) == len(plan.arms) * study.study.seeds.count


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_says_which_views_and_whether_the_intra_class_loss_its_teacher_has(path):
    """What it trains must not hang on a default."""
    tables = tomllib.loads(path.read_text())
    if "task" in tables:
        return  # it trains no teacher
    assert {"views", "intra"} <= tables["teacher"].keys()


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
    assert all(stage.numerics.compiled for stage in plan_of(study, "cuda").stages.values())


def test_a_shipped_study_is_named_without_its_folder():
    assert shipped_names() == tuple(path.stem for path in STUDIES if path not in PLANS)
    assert load(Path("shipped:ablations")).study.name == "icc-ablations"
    assert study_path(Path("shipped:cache.toml")) == study_path(Path("shipped:cache"))
    assert study_path(Path("studies/cache.toml")) == Path("studies/cache.toml")


def test_an_unknown_shipped_study_lists_what_there_is():
    with pytest.raises(UsageError, match="no study 'ablation' comes with icckd") as error:
        load(Path("shipped:ablation"))
    assert error.value.hint == f"there are: {', '.join(shipped_names())}"


def test_a_file_that_is_not_there_tells_of_the_shipped_study_of_its_name():
    with pytest.raises(SpecError, match="cannot read none/ablations") as error:
        load(Path("none/ablations.toml"))
    assert error.value.hint.startswith("shipped:ablations is a study of that name")


def test_the_union_answers_all_that_the_five_plans_ask_for_but_what_is_no_setting():
    union = load(FOLDER / "union.toml")
    plans = [
        AblationPlan(entries=tuple(map(entry_of, load(path).requested)), source=path.stem)
        for path in PLANS
    ]

    found = coverage(union, plans)

    assert len(plans) == 5
    assert len(found) == 10
    assert [each.name for each in found if each.answer != "wholly"] == ["Ablation B"]
    assert [each.name for each in open_of(union)] == ["Ablation B"]
    assert union.teacher.intra.weight == 0.02
    assert union.teacher.intra.margin.threshold == 0.5


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_words_of_a_shipped_plan_bind_it_as_it_stands(path):
    """What a study says of a plan is what its import would say."""
    study = load(path)
    bare = study.model_copy(update={"ablation": (), "requested": ()})
    binder = Binder(bare)

    found = [binder.bind(entry_of(each)) for each in study.requested]

    assert [each.arms for each in found] == [each.arm for each in study.requested]
