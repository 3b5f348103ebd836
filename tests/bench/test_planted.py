"""Every metric of a trained model finds what it measures, planted at a known strength."""

import planted
import pytest

from icckd.report.planted import SMALLEST_FOUND
from icckd.study.metrics import METRICS


def test_every_metric_of_a_trained_model_has_a_plant_and_a_smallest_strength():
    assert set(planted.PLANTS) == set(METRICS.kinds())
    assert set(SMALLEST_FOUND) == set(METRICS.kinds())
    for metric, found in SMALLEST_FOUND.items():
        assert found.unit == planted.PLANTS[metric].unit
        assert found.strength in planted.LADDER


@pytest.mark.parametrize("metric", METRICS.kinds())
def test_the_smallest_strength_declared_is_found_and_nothing_is_found_where_nothing_is(metric):
    declared = SMALLEST_FOUND[metric].strength

    assert planted.share_found(metric, declared, 10) >= 0.7
    assert planted.share_found(metric, 0.0, 10) <= 0.5
