"""Every series of one trial."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icckd.results.types import StudyInfo
from icckd.spec.metrics import SERIES
from icckd.store.store import Store

_POINTS = """
select metric, epoch, value from curve where study = ? and arm = ? and seed = ?
order by metric, epoch
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrialSeries:
    """A series of one trial over epochs; epochs without a finite value are left out."""

    metric: str
    epochs_E: NDArray[np.int64]  # noqa: N815
    values_E: NDArray[np.float64]  # noqa: N815


def read_trial_series(
    store: Store, study: StudyInfo, arm: str, seed: int
) -> tuple[TrialSeries, ...]:
    """Return the series of a trial in the catalogue's order, unknown names last."""
    points: dict[str, list[tuple[int, float]]] = {}
    for metric, epoch, value in store.select(_POINTS, [study.name, arm, seed]):
        points.setdefault(metric, []).append((epoch, value))
    known = {name: place for place, name in enumerate(SERIES)}
    return tuple(
        TrialSeries(
            metric=name,
            epochs_E=np.array([epoch for epoch, _ in points[name]], np.int64),
            values_E=np.array([value for _, value in points[name]], np.float64),
        )
        for name in sorted(points, key=lambda name: (known.get(name, len(known)), name))
    )
