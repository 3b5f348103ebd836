"""Source that decides a stage's numbers: what is in its digest, and what a plan makes of it."""

from dataclasses import replace

import pytest

from icckd.study.load import parse
from icckd.study.source import StageSource, parse_module, read_module, source_of
from icckd.study.training import Training
from tests.support.plans import plan_of
from tests.support.studies import TWO_STAGES

TEXT = '''"""A module."""

import torch


def loss(values, scale=2.0):
    """Return it."""
    return (values * scale).sum()  # all of them
'''
CHANGED = StageSource(digest="d", changed={"icckd.train.student": "1"})


def digest(text):
    return parse_module(text.encode(), "icckd.train.example").digest


def imports(text, name="icckd.train.example", **more):
    return parse_module(text.encode(), name, **more).imports


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        ('"""Return it."""\n    ', "", True),
        ("  # all of them", "\n", True),
        ("(values * scale)", "(  values *\n scale )", True),
        ("values * scale", "values / scale", False),
        ("scale=2.0", "scale=2.5", False),
    ],
)
def test_a_digest_is_that_of_what_a_module_does(before, after, is_same):
    assert before in TEXT
    assert (digest(TEXT.replace(before, after)) == digest(TEXT)) is is_same


def test_a_text_in_pieces_has_the_digest_of_the_whole():
    """Versions of Python differ in how they divide the text of an f-string."""
    assert digest('f"a{x}" "b" f"{{c}}"\n') == digest('f"a{x}b{{c}}"\n')
    assert digest('f"a{x}" "b"\n') != digest('f"a{x}c"\n')


def test_imports_are_found_wherever_they_stand_but_not_those_for_type_checkers():
    text = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from icckd.train.teacher import TeacherStep\n"
        "def f():\n    import icckd.train.optim\n    from icckd.train import student\n"
        "from icckd.train.seeding import Key\nimport torch\n"
    )

    assert imports(text) == (
        "icckd.train", "icckd.train.optim", "icckd.train.seeding", "icckd.train.student",
    )  # fmt: skip
    assert imports("from .optim import x\nfrom . import seeding\n") == (
        "icckd.train", "icckd.train.optim", "icckd.train.seeding",
    )  # fmt: skip


def test_a_stage_has_the_source_of_its_own_parts():
    study = parse(TWO_STAGES, where="x", overrides=("student.distiller.kind=crd",))
    kd = parse(TWO_STAGES, where="x")

    teacher, student = (
        source_of("teacher", kd.teacher, kd.data), source_of("student", kd.student, kd.data)
    )  # fmt: skip
    assert source_of("teacher", study.teacher, study.data) == teacher
    assert source_of("student", study.student, study.data).digest != student.digest


def test_only_source_that_is_not_known_or_accepted_changes_the_stages_that_it_trains():
    study = parse(TWO_STAGES, where="x")

    def changed_student(kind, role, data, packed):
        return CHANGED if kind == "student" else source_of(kind, role, data, packed)

    teacher, student = plan_of(study).stages
    other = plan_of(study, source=changed_student).stages
    assert next(iter(other)) == teacher
    assert student not in other
    assert list(plan_of(study, source=changed_student, accept_code=True).stages) == [
        teacher, student,
    ]  # fmt: skip


def test_accepted_source_is_recorded_by_attempts_under_another_name():
    assert CHANGED.environment()["changed_source"] == "icckd/train/student.py (1)"
    assert "changed_source" not in replace(CHANGED, accepted=True).environment()
    assert replace(CHANGED, accepted=True).environment()["accepted_source"]


def test_settings_and_code_in_one_file_are_both_covered():
    assert "icckd.study.settings" in read_module(Training.__module__).imports
