"""A distiller that cannot join two networks is refused when the study is planned."""

from pathlib import Path

import pytest

from icckd.errors import SpecError
from icckd.study.arms import arms, expand, refuse_impossible_pairing
from icckd.study.distillers import Term, hint_obstacle, hint_rule
from icckd.study.load import load, parse
from icckd.study.network import NetworkShape, StageShape
from icckd.study.paths import tables_in

STUDIES = Path(__file__).parents[2] / "studies"
BODY = """
[study]
name = "s"
baseline = "full"
seeds = { count = 1 }
[data]
kind = "cifar100"
[teacher]
model = { kind = "cifar", name = "TEACHER" }
[student]
model = { kind = "cifar", name = "STUDENT" }
distiller = { DISTILLER }
[student.training]
batch_size = 64
[[arm]]
name = "full"
"""


def found(teacher, student, distiller, batch=64):
    text = BODY.replace("TEACHER", teacher).replace("STUDENT", student)
    text = text.replace("DISTILLER", distiller).replace("= 64", f"= {batch}")
    return arms(parse(text, where="x.toml"))


def refusal(*what, **more):
    with pytest.raises(SpecError) as caught:
        found(*what, **more)
    return caught.value.message


@pytest.mark.parametrize("kind", ["at", "vid", "reviewkd"])
def test_stages_are_paired_one_with_one(kind):
    message = refusal("vgg13", "resnet20", f'kind = "{kind}"')

    assert message == (
        f"arm 'full': distiller '{kind}' cannot join student.model and teacher.model: it pairs"
        " stage with stage, and the student has 3 stages, the teacher 4"
    )
    assert found("vgg13", "vgg8", f'kind = "{kind}"')


@pytest.mark.parametrize("kind", ["kd", "dkd", "nkd", "dist", "ckd", "rkd", "pkt", "cc", "crd"])
def test_methods_without_maps_join_any_two_networks(kind):
    assert found("vgg13", "resnet20", f'kind = "{kind}"')


def test_a_hint_needs_its_stage_and_a_regressor():
    assert "stage = 4, and the student has 3 stages" in refusal(
        "vgg13", "resnet20", 'kind = "fitnet", stage = 4'
    )
    assert "no regressor brings the student's 2x2 map of stage 4 to the teacher's 8x8" in hints(
        (2, 2), (8, 8)
    )
    assert found("vgg13", "resnet20", 'kind = "fitnet"')


def hints(own, other):
    shapes = [
        NetworkShape(features=1, stages=(StageShape(channels=1, height=h, width=w),) * 4)
        for h, w in (own, other)
    ]
    return hint_obstacle(4, *shapes)


@pytest.mark.parametrize(
    ("own", "other", "rule"),
    [
        ((8, 8), (4, 4), "halve"), ((4, 4), (8, 8), "double"), ((8, 8), (8, 8), "same-or-shrink"),
        ((8, 8), (7, 5), "same-or-shrink"), ((3, 3), (8, 8), None), ((8, 4), (4, 8), None),
    ],
)  # fmt: skip
def test_the_rule_of_a_hint_depends_on_both_sides(own, other, rule):
    shapes = [StageShape(channels=3, height=h, width=w) for h, w in (own, other)]

    assert hint_rule(*shapes) == rule


def test_a_batch_that_has_nothing_to_compare_is_refused():
    message = refusal("vgg13", "vgg8", 'kind = "rkd"', batch=2)

    assert "needs 3 of them, student.training.batch_size is 2" in message
    assert found("vgg13", "vgg8", 'kind = "rkd"', batch=3)
    assert found("vgg13", "vgg8", 'kind = "kd"', batch=2)


def test_a_term_of_a_sum_is_named_in_the_reason():
    terms = 'kind = "sum", terms = { kd = { kind = "kd" }, maps = { kind = "at" } }'

    assert "term 'maps': it pairs stage with stage" in refusal("vgg13", "resnet20", terms)
    assert found("vgg13", "resnet20", terms.replace('{ kind = "at" }', '"off"'))


def test_a_student_alone_needs_nothing_of_its_teacher():
    text = BODY.replace("TEACHER", "vgg13").replace("STUDENT", "resnet20")

    assert arms(parse(text.replace("{ DISTILLER }", '"off"'), where="x"))


@pytest.mark.parametrize("term", tables_in(Term), ids=lambda table: table.__name__)
def test_every_method_joins_the_thirteen_pairs_of_the_literature(term):
    study = load(STUDIES / "cifar100-pairs.toml")
    kind = term.model_fields["kind"].annotation.__args__[0]
    methods = expand(study).methods.values()
    pairs = [method for method in methods if method.student.distiller != "off"]

    for method in pairs:
        student = method.student.model_copy(update={"distiller": term(kind=kind)})
        refuse_impossible_pairing("pair", method.model_copy(update={"student": student}))
    assert len(pairs) == 13
