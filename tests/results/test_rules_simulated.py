"""Whole studies through the product's own comparison: false verdicts stay rare at every size."""

import numpy as np
import pytest
from scipy.stats import binom

from icckd.results.compare import compare
from tests.results.test_rules import study

STUDIES = 60
IMAGES = 100
ARMS = ("arm", "b", "c", "d")
MOST = int(binom.ppf(0.999, STUDIES, 0.05))


def drawn(rng, seeds, arms):
    """Accuracies near the ceiling on few images, nothing true: they tie, and spreads collapse."""
    names = ("base", *arms)
    hits = {name: {seed: (rng.random(IMAGES) < 0.98,) for seed in range(seeds)} for name in names}
    accuracy = {name: {s: 100 * h[0].mean() for s, h in by.items()} for name, by in hits.items()}
    return {"student.top1": accuracy}, {"student": hits}


@pytest.mark.parametrize("seeds", [3, 6])
def test_studies_without_any_effect_seldom_get_a_verdict_that_there_is_one(seeds):
    rng = np.random.default_rng(seeds)
    false = {"fixed": 0, "": 0}
    for _ in range(STUDIES // 2):
        outcomes, right = drawn(rng, seeds, ARMS)
        for rule in false:
            info = study(rule=rule, bound=3.0, more=ARMS[1:], seeds=tuple(range(seeds)))
            rows = compare(info, outcomes, right)
            false[rule] += any(row.verdict in ("helps", "hurts") for row in rows)

    assert false["fixed"] <= MOST // 2 + 1
    if seeds == 3:
        assert false[""] > false["fixed"]  # what the rule before let through
