"""Any arms beside each other: chosen by text, compared by the rule of their studies."""

import io
from dataclasses import fields

import pytest

from icckd.errors import UsageError
from icckd.report.terminal import write_comparison, write_diff
from icckd.results.query import open_results
from icckd.results.selection import compare_selections, select
from icckd.results.types import Comparison
from tests.support.lab import planned

# Arm minus full: mean -2, standard deviation 2 / sqrt(5) = 0.894427, standard error 0.365148.
DIFFERENCES = (-2.0, -1.0, -3.0, -2.0, -1.0, -3.0)
JUDGED = {"arm", "p_adjusted", "verdict", "more_seeds", "p_equivalence", "p_exact",
          "p_exact_smallest", "bootstrap_low", "bootstrap_high"}  # fmt: skip


def train(session, seeds):
    """Train `full` to 90 and `no-margin` to 90 plus the difference of the seed."""
    for seed in seeds:
        for arm, accuracy in (("full", 90.0), ("no-margin", 90.0 + DIFFERENCES[seed])):
            for position in (0, 1):
                stage = session.stage(arm, seed, position)
                session.train(stage, accuracy=accuracy)


def compared(results, *texts, metric="student.top1"):
    selections = [select(results, text) for text in texts]
    rows = compare_selections(results, selections, [metric])
    return [rows[selection.name, metric] for selection in selections]


def written(write, results, *texts, metrics=None):
    out = io.StringIO()
    chosen = [select(results, text) for text in texts]
    if metrics is None:
        write(results, *chosen, out)
    else:
        write(results, chosen, metrics, out)
    return " ".join(out.getvalue().split())


@pytest.fixture
def grown(lab):
    """Three seeds, and three more after the first had been seen."""
    with lab.finished("s1", planned(seeds=(0, 1, 2))) as session:
        train(session, (0, 1, 2))
    with lab.finished("s2", planned(seeds=range(6)), revision="r2") as session:
        train(session, (3, 4, 5))
    with open_results(lab.folder) as results:
        yield results


def test_seeds_added_after_looking_are_compared_by_the_rule_for_repeated_looks(grown):
    _, row = compared(grown, "full", "no-margin")

    # With g = 1 and n = 6: r = (7 / 0.05^2)^(1/6) = 3.754278, and
    # sqrt(5 (r - 1) / (1 - r / 7)) = 5.449821 standard errors are 1.989991.
    assert row.test == "sequential"
    assert (row.n, row.pairs, row.difference) == (6, 6, pytest.approx(-2.0))
    assert (row.low, row.high) == pytest.approx((-3.989991, -0.010009), abs=2e-6)
    # t^2 / 5 = 6: sqrt(7) * ((1 + 6) / (1 + 6 / 7))^(-3) = 0.049407.
    assert row.p == pytest.approx(0.049407, abs=1e-6)


def test_seeds_planned_beforehand_are_compared_by_students_t(lab):
    with lab.finished("s1", planned(seeds=range(6))) as session:
        train(session, range(6))
    with open_results(lab.folder) as results:
        _, row = compared(results, "full", "no-margin")
        text = written(write_comparison, results, "full", "no-margin", metrics=["student.top1"])

    # 2.570582 standard errors, and p of |t| >= 5.477226 with five degrees of freedom.
    assert row.test == "t"
    assert (row.low, row.high) == pytest.approx((-2.938642, -1.061358), abs=2e-6)
    assert row.p == pytest.approx(0.002766, abs=2e-6)
    assert "-2.00 [-2.94, -1.06]" in text
    assert "95 % t intervals" in text


def test_compare_and_diff_show_these_intervals_and_say_why(grown):
    text = written(write_comparison, grown, "full", "no-margin", metrics=["student.top1"])
    explained = written(write_diff, grown, "full", "no-margin")

    assert "-2.00 [-3.99, -0.01] -1.88 0.049" in text
    assert "confidence sequences" in text
    assert "seeds were added after results had been seen" in text
    assert "t intervals" not in text
    assert "-2.00 [-3.99, -0.01]" in explained


def test_one_study_whose_seeds_grew_is_enough_for_that_rule(lab, grown):
    with lab.finished("s3", planned(seeds=range(6), salt="b"), study="other") as session:
        train(session, range(6))
    grown.refresh()

    for texts in (
        ("other:full", "icc-ablations:no-margin"),
        ("icc-ablations:full", "other:no-margin"),
    ):
        row = compared(grown, *texts)[1]
        assert row.test == "sequential", texts
        assert (row.low, row.high) == pytest.approx((-3.989991, -0.010009), abs=2e-6), texts
    assert compared(grown, "other:full", "other:no-margin")[1].test == "t"


def test_a_comparison_within_a_study_is_that_of_its_report(lab):
    with lab.finished("s1", planned(seeds=(0, 1, 2, 3))) as session:
        session.train_all(skip=[("no-cache", 2), ("no-margin", 1)])
        session.train(session.stage("no-cache", 2), end="failed", until=2)
    with open_results(lab.folder) as results:
        study = results.study()
        names = [arm.name for arm in study.arms]
        compared_fields = [f.name for f in fields(Comparison) if f.name not in JUDGED]
        tests = set()
        for reference in names:
            expected = {
                (row.arm, row.metric): row for row in results.comparisons(study.against(reference))
            }
            order = [reference, *(name for name in names if name != reference)]
            selections = [select(results, name) for name in order]
            rows = compare_selections(results, selections, study.metrics)
            for selection in selections:
                for metric in study.metrics:
                    mine = rows[selection.name, metric]
                    theirs = expected[selection.arm, metric]
                    tests.add(mine.test)
                    for field in compared_fields:
                        found, wanted = getattr(mine, field), getattr(theirs, field)
                        assert found == wanted, (reference, selection.arm, metric, field)

    assert tests >= {"", "t", "worst-rank"}


def test_a_seed_that_diverged_counts_as_the_worst_in_p_and_the_text_says_so(lab):
    with lab.finished("s1", planned(seeds=(0, 1, 2))) as session:
        train(session, (0, 1))
        session.train(session.stage("full", 2), accuracy=90.0)
        session.train(session.stage("full", 2, 1), accuracy=90.0)
        session.train(session.stage("no-margin", 2), end="failed", until=2)
    with open_results(lab.folder) as results:
        _, row = compared(results, "full", "no-margin")
        text = written(write_comparison, results, "full", "no-margin", metrics=["student.top1"])

    assert (row.test, row.p) == ("worst-rank", 0.25)  # 2 of 8 sign patterns are as extreme
    assert "p comes from signed ranks" in text


def test_a_selection_is_an_arm_or_a_trial_of_any_study(grown):
    study = grown.study()
    for text, expected in (
        ("full", ("full", None)),
        ("full/3", ("full", 3)),
        ("full/s3", ("full", 3)),
        ("full/", ("full", None)),
        ("icc-ablations:no-margin/0", ("no-margin", 0)),
    ):
        found = select(grown, text)
        assert (found.arm, found.seed) == expected, text
        assert found.study == study, text
    for text, words in (
        ("ful", "has no arm 'ful'"),
        ("full/9", "has no seed '9'"),
        ("full/x", "has no seed 'x'"),
        ("other:full", "no study 'other'"),
    ):
        with pytest.raises(UsageError, match=words):
            select(grown, text)
