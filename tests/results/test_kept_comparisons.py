"""Comparisons are computed once for the values that they are made of."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import icckd.results.compare as compare_module
from icckd.results.compare import Kept, compare
from icckd.results.query import Results
from tests.support.lab import planned
from tests.support.rows import in_memory

SEEDS = range(8)


@pytest.fixture
def results(lab):
    with lab.finished("s1", planned(seeds=SEEDS)) as session:
        session.train_all()
    return Results(in_memory(lab.folder))


@pytest.fixture
def computed(monkeypatch):
    """Counts, by arm, the comparisons that are computed."""
    counts = Counter()
    row = compare_module._row

    def counted(study, arm, pairs, evidence):
        counts[arm.arm] += 1
        return row(study, arm, pairs, evidence)

    monkeypatch.setattr(compare_module, "_row", counted)
    return counts


def changed(outcomes, metric, arm, seed, value):
    by_arm = {**outcomes[metric], arm: {**outcomes[metric][arm], seed: value}}
    return {**outcomes, metric: by_arm}


def test_equal_values_are_compared_once_and_a_changed_one_alone_again(results, computed):
    study, outcomes, kept = results.study(), results.outcomes(results.study()), Kept()
    study = replace(study, rule="fixed")
    first = compare(study, outcomes, kept=kept)
    assert computed.total() == len(study.arms) * len(study.metrics)
    computed.clear()

    assert compare(replace(study, complete=3), outcomes, kept=kept) == first
    assert not computed

    for arm, of in (("no-margin", {"no-margin": 1}), ("full", dict.fromkeys(names(study), 1))):
        outcomes = changed(outcomes, "student.top1", arm, 3, 77.0)
        found = compare(study, outcomes, kept=kept)
        assert computed == of
        assert found == compare(study, outcomes)
        computed.clear()


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"rule": "one extension"}, {}),
        ({"seeds": (0, 1)}, {}),
        ({"baseline": "no-cache"}, {}),
        ({"added": (6, 7)}, {}),
        ({}, {"to_come": {("no-margin", 9)}}),
    ],
)
def test_whatever_else_a_comparison_is_made_of_is_computed_anew(results, change, more):
    study, outcomes, kept = results.study(), results.outcomes(results.study()), Kept()
    study = replace(study, rule="fixed", seeds=(*SEEDS, 9))
    compare(study, outcomes, kept=kept)
    other = replace(study, **change)

    assert compare(other, outcomes, kept=kept, **more) == compare(other, outcomes, **more)
    assert compare(study, outcomes, kept=kept) == compare(study, outcomes)


def test_which_test_images_were_right_is_part_of_it(results):
    study, outcomes, kept = results.study(), results.outcomes(results.study()), Kept()
    study = replace(study, rule="fixed")
    half, all_of_it = np.arange(64) < 32, np.ones(64, dtype=bool)
    found = []
    for of_baseline in (half, all_of_it, ~half):
        hits = {arm: half if arm != "full" else of_baseline for arm in names(study)}
        by_arm = {arm: dict.fromkeys(SEEDS, (mine,)) for arm, mine in hits.items()}
        told = {"teacher": by_arm, "student": by_arm}
        found.append(compare(study, outcomes, told, kept=kept))
        assert found[-1] == compare(study, outcomes, told)
    assert found[0] != found[2]


def names(study):
    return [arm.name for arm in study.arms]


def results_of(lab):
    return Results(in_memory(lab.folder))


def test_what_a_study_no_longer_needs_is_forgotten(results):
    study, outcomes, kept = results.study(), results.outcomes(results.study()), Kept()
    for value in range(5):
        outcomes = changed(outcomes, "student.top1", "full", 0, float(value))
        compare(study, outcomes, kept=kept)
    assert len(kept._now) == len(study.arms) * len(study.metrics)


def test_a_viewer_compares_again_only_what_a_finished_trial_changed(lab, computed):
    plan = planned(seeds=SEEDS)
    session = lab.session("s1", plan)
    session.train_all(skip=[("no-margin", 7)])
    results = results_of(lab)
    study = results.study()
    results.comparisons(study)
    computed.clear()
    for position in (0, 1):
        session.train(session.stage("no-margin", 7, position))
    assert results.refresh()

    found = results.comparisons(results.study())

    assert set(computed) == {"no-margin"}
    assert found == results_of(lab).comparisons(results.study())
