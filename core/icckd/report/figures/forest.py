"""Forest plot: paired differences from the baseline on the primary metric."""

from matplotlib.figure import Figure

from icckd.report.cells import scale_of
from icckd.report.figures.style import COLORS, name_of, new_figure
from icckd.results.read import Results
from icckd.results.types import StudyInfo


def draw_forest(results: Results, study: StudyInfo) -> Figure | None:
    """Return the plot; arms of the family are filled, equivalence bounds shaded."""
    mine = [row for row in results.comparisons(study) if row.metric == study.primary]
    rows = [row for row in mine if row.difference is not None and row.low is not None]
    if not rows:
        return None
    scale = scale_of(mine)
    figure = new_figure(0.7 + 0.24 * len(rows))
    axes = figure.subplots()
    if study.smallest_effect is not None:
        bound = study.smallest_effect / scale.factor
        axes.axvspan(-bound, bound, color="0.9", lw=0, zorder=0)
    axes.axvline(0, color="0.4", lw=0.6, zorder=1)
    for place, row in enumerate(rows):
        middle, low, high = ((v or 0.0) / scale.factor for v in (row.difference, row.low, row.high))
        judged = row.arm in study.family
        color = COLORS[2] if judged else "0.35"
        axes.plot([low, high], [place, place], color=color, lw=1.4, zorder=2)
        face = color if judged else "white"
        axes.plot(middle, place, "o", ms=4.5, mec=color, mfc=face, zorder=3)
    axes.set_yticks(range(len(rows)), [name_of(row.arm) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    unit = " (points)" if scale.unit == "%" else f" ({scale.unit})" if scale.unit else ""
    kind = "confidence sequence" if study.is_sequential else "t interval"
    axes.set_xlabel(
        f"{name_of(study.primary)}: arm minus {name_of(study.baseline)}{unit},\n95 % {kind}"
    )
    return figure
