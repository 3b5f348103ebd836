"""The lines of a chart as it stands on a screen."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from icckd.report.figures.style import COLORS, DASHES, new_figure
from icckd.report.lines import Axes, DrawnLine


def lines_figure(shown: Axes, lines: Sequence[DrawnLine]) -> Figure:
    """Return a figure of one line an arm, intervals shaded, seeds thin."""
    figure = new_figure(2.4)
    if shown.note:
        figure.suptitle(shown.note)
    axes = figure.subplots()
    for line in lines:
        color = COLORS[line.place % len(COLORS)]
        dash = DASHES[line.place % len(DASHES)]
        label = line.name
        for values in line.seeds_SE if line.seeds_SE is not None else ():
            axes.plot(line.x_E, values, color=color, lw=0.5, alpha=0.7, label=label)
            label = ""
        if line.mean_E is not None:
            axes.plot(line.x_E, line.mean_E, color=color, ls=dash, label=label)
        if line.low_E is not None and line.high_E is not None:
            axes.fill_between(line.x_E, line.low_E, line.high_E, color=color, alpha=0.15, lw=0)
    axes.set_xlabel(shown.x)
    axes.set_ylabel(shown.y)
    axes.set_xscale("log" if shown.log_x else "linear")
    axes.set_yscale("log" if shown.log_y else "linear")
    axes.set_xlim(max(shown.low, 1e-9) if shown.log_x else shown.low, shown.high)
    if lines:
        axes.legend()
    return figure
