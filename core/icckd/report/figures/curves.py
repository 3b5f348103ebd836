"""Learning curves: mean over seeds and its pointwise 95 % t interval."""

from matplotlib.figure import Figure

from icckd.report.figures.style import COLORS, DASHES, name_of, new_figure
from icckd.results.read import Results
from icckd.results.types import StudyInfo
from icckd.spec.metrics import SERIES


def draw_curves(results: Results, study: StudyInfo, metric: str) -> Figure | None:
    """Return the curves of the baseline and the family, or of the first arms without a family."""
    wanted = {study.baseline, *study.family} if study.family else {a.name for a in study.arms}
    curves = [c for c in results.curves(study, metric) if c.arm in wanted][: len(COLORS)]
    if not curves:
        return None
    figure = new_figure(2.4)
    axes = figure.subplots()
    for place, curve in enumerate(curves):
        color, count = COLORS[place], int(curve.count_E.max())
        label = f"{name_of(curve.arm)} (n = {count})"
        axes.plot(curve.epochs_E, curve.mean_E, color=color, ls=DASHES[place], label=label)
        axes.fill_between(curve.epochs_E, curve.low_E, curve.high_E, color=color, alpha=0.15, lw=0)
    unit = f" ({SERIES[metric].unit})" if metric in SERIES and SERIES[metric].unit != "1" else ""
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{name_of(metric)}{unit}")
    axes.margins(x=0.01)
    middles = [value for curve in curves for value in curve.mean_E[len(curve.mean_E) // 10 :]]
    bands = [value for curve in curves for value in curve.low_E[len(curve.low_E) // 4 :]]
    lowest = min([*middles, *(value for value in bands if value == value)])
    highest = max(float(curve.mean_E.max()) for curve in curves)
    axes.set_ylim(bottom=lowest - 0.05 * (highest - lowest))
    axes.legend(loc="lower right")
    return figure
