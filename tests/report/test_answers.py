"""The first lines of a report: one plain sentence for each primary question, of every kind."""

import math
from dataclasses import replace

import pytest

from icckd.report.answers import answers
from icckd.report.rule_text import interval_rule
from icckd.results.compare import compare
from icckd.study.records import Arm
from tests.results.test_rules import CLEAR, SEEDS, models, study

UNSURE = (-12, 3, -15, 8, -9, 5, -11, 2)
SMALL = (1, -2, 0, 2, -1, 1, -3, 2)


def titled(info):
    """The study with a title for its ablation, as a study file has one."""
    arms = tuple(
        Arm(name=arm.name, role=arm.role, title="Remove the margin filter", action=arm.action,
            control_for=None, changes=())
        for arm in info.arms
    )  # fmt: skip
    return replace(info, arms=arms)


def sentence(info, differences, *, to_come=(), seconds=None, **settings):
    outcomes, right = models(differences, **settings)
    [text] = answers(titled(info), compare(info, outcomes, right, to_come), seconds)
    return text


def test_helps():
    assert sentence(study(), CLEAR) == (
        "Removing the margin filter lowers student.top1 by 4.00 points [3.30, 4.70] (8 paired"
        " seeds, corrected p = 0.008): the part helps."
    )


def test_hurts():
    assert sentence(study(), [-difference for difference in CLEAR]) == (
        "Removing the margin filter raises student.top1 by 4.00 points [3.30, 4.70] (8 paired"
        " seeds, corrected p = 0.008): the part hurts."
    )


def test_equivalent_and_whether_a_difference_is_real_all_the_same():
    assert sentence(study(bound=2.0), SMALL) == (
        "Removing the margin filter changes student.top1 by 0.00 points [-0.55, +0.55] (8 paired"
        " seeds, corrected equivalence p = 0.004): within ±2 points, equivalent to the baseline."
    )
    assert sentence(study(bound=20.0), CLEAR).endswith(
        "within ±20 points, equivalent to the baseline, a real difference smaller than what"
        " matters."
    )


def test_undecided_says_how_many_more_seeds_and_what_they_cost():
    text = sentence(study(rule="one extension"), UNSURE, seconds=4.0)

    assert text == (
        "Removing the margin filter changes student.top1 by -0.36 points [-1.27, +0.54] (8 paired"
        " seeds, corrected p = 0.585): undecided, and 22 to 27 more seeds, about 1 min 48 s of"
        " training, should decide."
    )


def test_too_few_seeds():
    text = sentence(study(rule="one extension", seeds=SEEDS[:3]), CLEAR[:3])

    assert text == (
        "What removing the margin filter does to student.top1 is not known: 3 paired seeds are too"
        " few, a verdict takes 6 at least: 9 to 18 more seeds should decide."
    )


def test_seeds_to_come_and_images_that_are_not_known():
    waiting = [("arm", 6), ("arm", 7)]
    assert sentence(study(rule="one extension"), CLEAR[:6], to_come=waiting) == (
        "What removing the margin filter does to student.top1 is not decided yet: 2 paired seeds"
        " are still to come."
    )
    outcomes, _ = models(CLEAR)
    [text] = answers(titled(study()), compare(study(), outcomes))
    assert text.startswith("What removing the margin filter does to student.top1 cannot be judged")


def test_never_reached():
    name = "student.convergence"
    info = titled(study(metrics=(name,)))
    arm = {seed: 14.0 + seed % 3 for seed in SEEDS} | {3: math.inf}
    rows = compare(info, {name: {"base": dict.fromkeys(SEEDS, 10.0), "arm": arm}})

    assert answers(info, rows) == (
        "Removing the margin filter: student.convergence was never reached in 1 of 8 seeds, ranked"
        " as the worst outcome (8 paired seeds, corrected p = 0.008): the part helps.",
    )


def test_diverged():
    info = titled(study())
    outcomes, right = models(CLEAR)
    for seed in (2, 5):
        del outcomes["student.top1"]["arm"][seed]
    outcomes["student.nonfinite_steps"] = {"arm": {2: 1.0, 5: 1.0}}

    assert answers(info, compare(info, outcomes, right)) == (
        "Removing the margin filter: training diverged under seeds 2, 5, ranked as the worst"
        " outcome"
        " (8 paired seeds, corrected p = 0.008): the part helps.",
    )


@pytest.mark.parametrize(
    ("title", "subject"), [("A filter", "Arm arm"), ("Replace x by y", "Replacing x by y")]
)
def test_a_title_that_begins_with_no_verb_leaves_the_arms_name(title, subject):
    info = study()
    arms = tuple(replace(arm, title=title) for arm in info.arms)
    outcomes, right = models(CLEAR)
    info = replace(info, arms=arms)

    assert answers(info, compare(info, outcomes, right))[0].startswith(f"{subject} lowers")


def test_a_study_from_before_rules_has_no_answers():
    info = replace(study(), rule="")
    outcomes, right = models(CLEAR)

    assert answers(info, compare(info, outcomes, right)) == ()


def test_the_rule_says_what_the_intervals_of_other_outcomes_cover():
    outcomes, right = models(UNSURE)
    outcomes["teacher.top1"], right["teacher"] = outcomes["student.top1"], right["student"]

    def told(info, to_come=frozenset()):
        rows = compare(info, outcomes, right, to_come)
        assert (rows[-1].metric, rows[-1].verdict) == ("teacher.top1", "")
        return rows[-1].level, interval_rule(info, rows)

    both = ("student.top1", "teacher.top1")
    level, text = told(study(metrics=both))
    assert (level, "of all others 95 %, each" in text) == (0.05, True)
    level, text = told(study(metrics=both, rule="one extension"))
    assert level == 0.025
    assert "of all others 97.5 % (95 % together with the extension), each" in text
    extended = replace(study(metrics=both, rule="one extension"), added=SEEDS[4:])
    level, text = told(extended)
    assert (level, "of all others 95 %, each" in text) == (0.05, True)
    halfway = replace(extended, added=SEEDS[6:])
    level, text = told(halfway, frozenset({("arm", SEEDS[-1])}))
    assert (level, "of all others 97.5 % (95 % together" in text) == (0.05 / 2, True)
