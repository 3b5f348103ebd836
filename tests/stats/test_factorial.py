"""Effects of factorial designs, against statsmodels' repeated-measures analysis of variance."""

import itertools

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from icckd.stats.factorial import contrasts
from icckd.stats.paired import equivalence, holm, paired_difference
from tests.support.lanes import slow_but


def against_zero(values):
    return paired_difference(values, np.zeros_like(values))


def test_a_two_by_two_design_agrees_with_repeated_measures_anova():
    generator = np.random.default_rng(1)
    seeds = generator.normal(0, 3, (7, 1, 1))
    cells = generator.normal(0, 1, (7, 2, 2)) + seeds + [[0.0, 1.0], [2.0, 4.0]]
    table = pd.DataFrame(
        [
            (seed, a, b, cells[seed, a, b])
            for seed, a, b in itertools.product(range(7), range(2), range(2))
        ],
        columns=["seed", "a", "b", "y"],
    )
    theirs = AnovaRM(table, "y", "seed", within=["a", "b"]).fit().anova_table

    ours = [against_zero(contrast.by_seed) for contrast in contrasts(cells)]

    assert [r.p for r in ours] == pytest.approx(list(theirs["Pr > F"]))
    assert ours[2].mean == pytest.approx(
        (cells[:, 1, 1] - cells[:, 1, 0] - cells[:, 0, 1] + cells[:, 0, 0]).mean()
    )


def test_effects_built_in_are_found_for_more_levels_and_factors():
    a, b = np.array([0.0, 1.0, 5.0]), np.array([0.0, -2.0])
    both = np.array([[0, 0], [0, 0], [0, 3.0]])
    cells = np.broadcast_to(
        (a[:, None] + b[None, :] + both)[None, :, :, None] + np.array([0.0, 7.0]), (4, 3, 2, 2)
    )
    found = {(c.factors, c.levels): c.by_seed[0] for c in contrasts(cells)}

    assert found[(0,), (1,)] == pytest.approx(1.0)
    assert found[(0,), (2,)] == pytest.approx(5.0 + 1.5)  # over both levels of b
    assert found[(1,), (1,)] == pytest.approx(-2.0 + 1.0)
    assert found[(2,), (1,)] == pytest.approx(7.0)
    assert found[(0, 1), (2, 1)] == pytest.approx(3.0)
    assert found[(0, 1), (1, 1)] == found[(0, 2), (2, 1)] == pytest.approx(0.0)
    assert len(found) == 4 + (2 * 1 + 2 * 1 + 1)


@pytest.mark.parametrize("seed", slow_but(range(4), 0))
def test_holm_and_tost_agree_with_statsmodels(seed):
    generator = np.random.default_rng(seed)
    p = list(generator.uniform(0, 0.1, 5))
    x, y = generator.normal(0.2, 1, 9), generator.normal(0, 1, 9)

    assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert equivalence(x - y, bound=0.7).p == pytest.approx(ttost_paired(x, y, -0.7, 0.7)[0])
