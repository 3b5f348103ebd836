"""Series over epochs, arm by arm."""

from collections.abc import Sequence

import numpy as np

from icckd.results.types import Curve, StudyInfo
from icckd.spec.metrics import SERIES
from icckd.stats.paired import mean_interval
from icckd.store.store import Store

_SERIES = """
select distinct metric.metric
from study
inner join trial_stage using (session)
inner join stage_now using (stage)
inner join metric using (attempt)
where study.is_latest and study.study = ?
"""
_POINTS = "select arm, seed, epoch, value from curve where study = ? and metric = ?"
_EPOCHS = """
select trial_stage.arm, max(stage.epochs)
from study
inner join trial_stage using (session)
inner join stage using (session, stage)
where study.is_latest and study.study = ? and starts_with(?, stage.kind || '.')
group by trial_stage.arm
"""


def read_series(store: Store, study: StudyInfo) -> tuple[str, ...]:
    """Return the series that have data, the most useful first.

    That is the catalogue's order, what has a better direction before what has none, and of each
    the stage that the primary outcome belongs to before the other; unknown names come last.
    """
    judged = study.primary.split(".", 1)[0]
    bases = list(dict.fromkeys(name.split(".", 1)[-1] for name in SERIES))

    def rank(name: str) -> tuple[bool, bool, int, bool, str]:
        stage, _, base = name.partition(".")
        known = name in SERIES
        return (
            not known,
            known and SERIES[name].direction == "none",
            bases.index(base) if known else 0,
            stage != judged,
            name,
        )

    return tuple(sorted((name for (name,) in store.select(_SERIES, [study.name])), key=rank))


def read_curves(store: Store, study: StudyInfo, metric: str) -> tuple[Curve, ...]:
    """Return one curve an arm that has data, in the study's order."""
    planned = dict(store.select(_EPOCHS, [study.name, metric]))
    points: dict[str, list[tuple[int, int, float]]] = {}
    for arm, *point in store.select(_POINTS, [study.name, metric]):
        points.setdefault(arm, []).append((point[0], point[1], point[2]))
    return tuple(
        _curve(arm.name, metric, points[arm.name], planned.get(arm.name, 0))
        for arm in study.arms
        if arm.name in points
    )


def _curve(
    arm: str, metric: str, points: Sequence[tuple[int, int, float]], planned_epochs: int
) -> Curve:
    seeds = sorted({seed for seed, _, _ in points})
    epochs = sorted({epoch for _, epoch, _ in points})
    row = {seed: index for index, seed in enumerate(seeds)}
    column = {epoch: index for index, epoch in enumerate(epochs)}
    values = np.full((len(seeds), len(epochs)), np.nan)
    for seed, epoch, value in points:
        values[row[seed], column[epoch]] = value
    mean, low, high = mean_interval(values)
    return Curve(
        arm=arm,
        metric=metric,
        epochs_E=np.array(epochs, dtype=np.int64),
        mean_E=mean,
        low_E=low,
        high_E=high,
        count_E=np.isfinite(values).sum(axis=0).astype(np.int64),
        seeds=tuple(seeds),
        values_SE=values,
        planned_epochs=planned_epochs,
    )
