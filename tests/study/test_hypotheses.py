"""The primary questions of a study: pairs of an ablation and a metric."""

import pytest

from icckd.errors import SpecError
from icckd.study.arms import arms, hypotheses, outcome_columns, rule_of
from icckd.study.load import parse
from icckd.study.records import Hypothesis
from tests.support.studies import SMALL


def study(header="", ablation=""):
    text = SMALL.replace("[study]", f"[study]\n{header}")
    return parse(text.replace('action = "REMOVE"', f'action = "REMOVE"\n{ablation}'), where="x")


def questions(**tables):
    found = study(**tables)
    return hypotheses(found, arms(found))


def test_by_default_the_studys_primary_outcome_answers_for_every_ablation():
    assert questions(header="smallest_effect = 0.5") == (
        Hypothesis(arm="no-cache", metric="student.top1", smallest_effect=0.5),
    )
    assert rule_of(study()) == "one extension"
    assert rule_of(study(header='extension = "none"')) == "fixed"


def test_an_ablation_names_its_own_outcomes_and_smallest_effects():
    found = questions(
        header="smallest_effect = 0.5",
        ablation='primary = ["student.top1", "teacher.nll"]\n'
        'smallest_effect = { "teacher.nll" = 0.02 }',
    )

    assert found == (
        Hypothesis(arm="no-cache", metric="student.top1", smallest_effect=0.5),
        Hypothesis(arm="no-cache", metric="teacher.nll", smallest_effect=0.02),
    )
    alone = questions(ablation='primary = "teacher.nll"\nsmallest_effect = 0.02')
    assert alone == (Hypothesis(arm="no-cache", metric="teacher.nll", smallest_effect=0.02),)
    assert "teacher.nll" in outcome_columns(study(ablation='primary = "teacher.nll"'))


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"header": 'primary = "teacher.intra_ratio"'}, "neither higher nor lower is better"),
        ({"ablation": 'primary = "student.entropy"'}, "neither higher nor lower is better"),
        ({"header": "smallest_effect = 0.05"}, "less than one of the 1000 test images"),
        ({"ablation": 'primary = "student.no"'}, "unknown metric"),
        ({"ablation": 'smallest_effect = { "student.top1" = 1 }'}, "not in primary"),
        (
            {"ablation": 'primary = ["student.top1", "teacher.nll"]\nsmallest_effect = 1'},
            "several primary outcomes need",
        ),
        ({"ablation": "smallest_effect = -1.0"}, "above 0"),
        ({"header": 'extension = "two"'}, "extension"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(tables, words):
    with pytest.raises(SpecError, match=words):
        arms(study(**tables))


def test_what_is_left_at_its_default_changes_no_revision():
    written = study().model_dump(mode="json")

    assert "extension" not in written["study"]
    assert not {"primary", "smallest_effect"} & set(written["ablation"][0])
    fixed = study(header='extension = "none"').model_dump(mode="json")
    assert fixed["study"]["extension"] == "none"
