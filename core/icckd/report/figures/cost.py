"""What an arm costs against what it reaches."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from icckd.report.cells import scale_of
from icckd.report.figures.style import COLORS, MARKERS, name_of, new_figure
from icckd.results.read import Results
from icckd.results.types import StudyInfo
from icckd.stats.paired import mean_interval


def draw_cost(results: Results, study: StudyInfo) -> Figure | None:
    """Return the primary metric against training seconds of teacher and student, arm by arm."""
    primary = results.values(study, study.primary)
    seconds = [results.values(study, f"{kind}.seconds") for kind in ("teacher", "student")]
    rows = [row for row in results.comparisons(study) if row.metric == study.primary]
    scale = scale_of(rows)
    figure = new_figure(2.9)
    axes = figure.subplots()
    drawn = 0
    for place, arm in enumerate(study.arms):
        points = _points(primary.get(arm.name, {}), [each.get(arm.name, {}) for each in seconds])
        if not points.size:
            continue
        drawn += 1
        mean, low, high = mean_interval(points)
        x, y = mean[0], mean[1] / scale.factor
        reach = [[max(0.0, y - low[1] / scale.factor)], [max(0.0, high[1] / scale.factor - y)]]
        color = COLORS[place % len(COLORS)]
        axes.errorbar(
            x, y, yerr=reach if np.isfinite(reach).all() else None, color=color, lw=0.8,
            marker=MARKERS[place % len(MARKERS)], ms=5, mec="white", mew=0.5, ls="",
            label=name_of(arm.name),
        )  # fmt: skip
    if not drawn:
        return None
    axes.set_xlabel("training time of teacher and student (s)")
    unit = f" ({scale.unit})" if scale.unit else ""
    axes.set_ylabel(f"{name_of(study.primary)}{unit},\n95 % t interval")
    axes.margins(0.12)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _points(
    primary: Mapping[int, float], seconds: list[Mapping[int, float]]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return time and outcome of each seed that has both and finite, shape (seeds, 2)."""
    seeds = sorted(set(primary).intersection(*seconds))
    found = [(sum(each[seed] for each in seconds), primary[seed]) for seed in seeds]
    return np.array([pair for pair in found if np.isfinite(pair).all()]).reshape(-1, 2)
