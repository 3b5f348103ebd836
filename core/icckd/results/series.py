"""Series over epochs: of an arm with its interval over seeds, and of one trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icckd.results.types import Curve, StudyInfo
from icckd.stats.paired import mean_interval
from icckd.study.metrics import SERIES

if TYPE_CHECKING:
    from icckd.results.store import Store

_SERIES = """
select distinct metric.metric
from every_stage_of_trial
inner join metric using (attempt)
where study = ? and revision = ?
"""
_CURVE_POINTS = """
select list_position(?::varchar[], arm) - 1 as place, seed, epoch,
  coalesce(value, 'nan'::double) as value
from every_curve
where study = ? and revision = ? and metric = ? and place is not null
order by place
"""
_EPOCHS = """
select arm, max(epochs)
from every_stage_of_trial
where study = ? and revision = ? and starts_with(?, kind || '.')
group by arm
"""


def read_series(store: Store, study: StudyInfo) -> tuple[str, ...]:
    """Return the series that have data, the most useful first.

    That is the catalogue's order, what has a better direction before what has none, and of each
    the stage that the primary outcome belongs to before the other; unknown names come last.
    """
    judged = study.primary.split(".", 1)[0]
    series = {**study.declared, **SERIES}
    bases = list(dict.fromkeys(name.split(".", 1)[-1] for name in series))

    def rank(name: str) -> tuple[bool, bool, int, bool, str]:
        stage, _, base = name.partition(".")
        known = name in series
        return (
            not known,
            known and series[name].direction == "none",
            bases.index(base) if known else 0,
            stage != judged,
            name,
        )

    return tuple(sorted((name for (name,) in store.select(_SERIES, list(study.key))), key=rank))


def read_curves(store: Store, study: StudyInfo, metric: str) -> tuple[Curve, ...]:
    """Return one curve an arm that has data, in the study's order."""
    planned = dict(store.select(_EPOCHS, [*study.key, metric]))
    names = [arm.name for arm in study.arms]
    points = store.columns(_CURVE_POINTS, [names, *study.key, metric])
    starts = np.searchsorted(points["place"], np.arange(len(names) + 1))
    return tuple(
        _curve(name, metric, {k: v[start:end] for k, v in points.items()}, planned.get(name, 0))
        for name, start, end in zip(names, starts[:-1], starts[1:], strict=True)
        if end > start
    )


def _curve(arm: str, metric: str, points: Mapping[str, NDArray[Any]], planned_epochs: int) -> Curve:
    seeds, rows = np.unique(points["seed"], return_inverse=True)
    epochs, columns = np.unique(points["epoch"], return_inverse=True)
    values = np.full((len(seeds), len(epochs)), np.nan)
    values[rows, columns] = points["value"]
    mean, low, high = (found.astype(np.float32) for found in mean_interval(values))
    return Curve(
        arm=arm,
        metric=metric,
        epochs_E=epochs.astype(np.int64),
        mean_E=mean,
        low_E=low,
        high_E=high,
        count_E=np.isfinite(values).sum(axis=0).astype(np.int32),
        seeds=tuple(seeds.tolist()),
        values_SE=values.astype(np.float32),
        planned_epochs=planned_epochs,
    )


# Every series of one trial.

_TRIAL_POINTS = """
select metric, epoch, value
from every_curve
where study = ? and revision = ? and arm = ? and seed = ?
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
    for metric, epoch, value in store.select(_TRIAL_POINTS, [*study.key, arm, seed]):
        points.setdefault(metric, []).append((epoch, value))
    known = {name: place for place, name in enumerate([*study.declared, *SERIES])}
    return tuple(
        TrialSeries(
            metric=name,
            epochs_E=np.array([epoch for epoch, _ in points[name]], np.int64),
            values_E=np.array([value for _, value in points[name]], np.float64),
        )
        for name in sorted(points, key=lambda name: (known.get(name, len(known)), name))
    )
