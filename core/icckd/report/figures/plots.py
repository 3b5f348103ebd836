"""The figures themselves: curves, forest plot, heat map, cost, and the lines of a chart.

One column wide, colours that the colour-blind can tell apart, text as text.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from icckd.report.figures import Axes, DrawnLine
from icckd.report.numbers import Scale
from icckd.report.rule_text import cover_text
from icckd.report.text import difference_unit, display, scale_of
from icckd.results.query import Results
from icckd.results.types import StudyInfo
from icckd.stats.paired import FloatArray, mean_interval
from icckd.study.arms import label as level_label
from icckd.study.arms import level_labels

COLUMN_INCHES = 3.35  # 85 mm, a column of most two-column papers
# Okabe and Ito 2008, "Color Universal Design"; the order keeps neighbours far apart.
COLORS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "<", ">")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (8, 2)))
_SETTINGS: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType, so that text can be selected and edited
    "svg.fonttype": "none",
    "svg.hashsalt": "icckd",
    "savefig.dpi": 300,
    "text.parse_math": False,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in our style while the context lasts, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(height: float) -> Figure:
    """Return an empty figure, one column wide; height in inches."""
    return Figure(figsize=(COLUMN_INCHES, height), layout="constrained")


def saved(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the suffix, the same bytes for the same figure."""
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    figure.savefig(path, metadata=undated.get(path.suffix[1:], {}))
    return path


def name_of(text: str, limit: int = 28) -> str:
    """Return an arm's or metric's name as a figure shows it."""
    return display(text, limit)


def report_figures(results: Results, study: StudyInfo) -> dict[str, Figure | None]:
    """Return every figure of a report by name; None where there is nothing to show."""
    curves = {
        f"curves-{metric}": draw_curves(results, study, metric)
        for metric in results.series(study)
        if metric.endswith(".val_top1")
    }
    return {
        **curves,
        "forest": draw_forest(results, study),
        "heatmap": draw_heatmap(results, study),
        "cost": draw_cost(results, study),
    }


def _unit(scale: Scale) -> str:
    """Return the unit of differences in parentheses, with a leading blank, or ""."""
    unit = difference_unit(scale.unit).strip()
    return f" ({unit})" if unit else ""


# What an arm costs against what it reaches.


def draw_cost(results: Results, study: StudyInfo) -> Figure | None:
    """Return the primary metric against training seconds of teacher and student, arm by arm."""
    primary = results.values(study, study.primary)
    seconds = [results.values(study, f"{kind}.seconds") for kind in study.kinds]
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
        x, y = mean[0], mean[1] / scale.divisor
        reach = [[max(0.0, y - low[1] / scale.divisor)], [max(0.0, high[1] / scale.divisor - y)]]
        color = COLORS[place % len(COLORS)]
        axes.errorbar(
            x, y, yerr=reach if np.isfinite(reach).all() else None, color=color, lw=0.8,
            marker=MARKERS[place % len(MARKERS)], ms=5, mec="white", mew=0.5, ls="",
            label=name_of(arm.name),
        )  # fmt: skip
    if not drawn:
        return None
    whose = "the runs" if study.has_tasks else "teacher and student"
    axes.set_xlabel(f"training time of {whose} (s)")
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


# Learning curves: mean over seeds and its pointwise 95 % t interval.


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
    unit = study.metric(metric).unit
    unit = f" ({unit})" if unit not in ("", "1") else ""
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


# Forest plot: paired differences from the baseline on the primary metric.


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
        bound = study.smallest_effect / scale.divisor
        axes.axvspan(-bound, bound, color="0.9", lw=0, zorder=0)
    axes.axvline(0, color="0.4", lw=0.6, zorder=1)
    for place, row in enumerate(rows):
        middle, low, high = (
            (v or 0.0) / scale.divisor for v in (row.difference, row.low, row.high)
        )
        judged = row.arm in study.family
        color = COLORS[2] if judged else "0.35"
        axes.plot([low, high], [place, place], color=color, lw=1.4, zorder=2)
        face = color if judged else "white"
        axes.plot(middle, place, "o", ms=4.5, mec=color, mfc=face, zorder=3)
    axes.set_yticks(range(len(rows)), [name_of(row.arm) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    unit = _unit(scale)
    kind = "95 % confidence sequence" if study.is_sequential else "95 % t interval"
    if study.rule:
        covers = {cover_text(row.level) for row in rows if row.level is not None}
        kind = f"{covers.pop()} interval" if len(covers) == 1 else "interval at its test's level"
    axes.set_xlabel(f"{name_of(study.primary)}: arm minus {name_of(study.baseline)}{unit},\n{kind}")
    return figure


# Heat maps: factor by level where the study has factors, else arm by outcome.

_COLOR_MAP = "PuOr_r"  # diverging, told apart by all common kinds of colour blindness


def draw_heatmap(results: Results, study: StudyInfo) -> Figure | None:
    """Return the map that fits the design; None where there is nothing to show."""
    levels = _levels(study)
    return _factor_map(results, study, levels) if levels else _outcome_map(results, study)


def _levels(study: StudyInfo) -> dict[str, tuple[int, ...]]:
    """Return the level of every factor, by arm that the factors made; 0 is the reference."""
    factors = study.resolved.get("factor", ())
    labels = {factor["name"]: level_labels(factor["levels"]) for factor in factors}
    return {
        arm.name: tuple(known.index(arm.levels[name]) for name, known in labels.items())
        for arm in study.arms
        if arm.levels
    }


def _factor_map(
    results: Results, study: StudyInfo, levels: dict[str, tuple[int, ...]]
) -> Figure | None:
    """Draw the mean of the primary metric at each level minus that at the reference level.

    Means are over arms and seeds, so that in a factorial design they are the main effects.
    """
    factors = study.resolved["factor"]
    rows = [row for row in results.comparisons(study) if row.metric == study.primary]
    means = {row.arm: row.mean for row in rows if row.mean is not None}
    grid = np.full((len(factors), max(len(f["levels"]) for f in factors)), np.nan)
    for place, factor in enumerate(factors):
        at = [
            [
                means[arm]
                for arm, choice in levels.items()
                if choice[place] == level and arm in means
            ]
            for level in range(len(factor["levels"]))
        ]
        if at[0]:
            reference = float(np.mean(at[0]))
            for level, values in enumerate(at):
                grid[place, level] = float(np.mean(values)) - reference if values else np.nan
    scale = scale_of(rows)
    names = [[name_of(level_label(v), 12) for v in factor["levels"]] for factor in factors]
    texts = [
        [
            f"{names[i][j]}\n{scale.difference(grid[i, j])}" if math.isfinite(grid[i, j]) else ""
            for j in range(grid.shape[1])
        ]
        for i in range(grid.shape[0])
    ]
    unit = _unit(scale)
    columns = ["reference", *(f"level {j}" for j in range(1, grid.shape[1]))]
    return _draw_map(
        grid, texts, ([f["name"] for f in factors], columns),
        f"{name_of(study.primary)}: difference\nfrom the reference level{unit}",
    )  # fmt: skip


def _outcome_map(results: Results, study: StudyInfo) -> Figure | None:
    """Draw standardized paired differences, oriented so that positive is better."""
    rows = {(row.arm, row.metric): row for row in results.comparisons(study)}
    arms = [arm.name for arm in study.arms if arm.name != study.baseline]
    metrics = [
        metric
        for metric in study.metrics
        if study.metric(metric).direction != "none"
        and any(rows[arm, metric].effect_size is not None for arm in arms)
    ]
    if not arms or not metrics:
        return None
    sign = [1.0 if study.metric(metric).direction == "higher" else -1.0 for metric in metrics]
    grid = np.array(
        [
            [
                np.nan if (size := rows[arm, metric].effect_size) is None else s * size
                for s, metric in zip(sign, metrics, strict=True)
            ]
            for arm in arms
        ]
    )
    texts = [[f"{v + 0.0:+.1f}" if math.isfinite(v) else "" for v in row] for row in grid]
    return _draw_map(
        grid, texts, (arms, metrics),
        f"d_z from {name_of(study.baseline)}, positive is better",
    )  # fmt: skip


def _draw_map(
    grid: FloatArray,
    texts: Sequence[Sequence[str]],
    labels: tuple[Sequence[str], Sequence[str]],
    title: str,
) -> Figure:
    known = np.abs(grid[np.isfinite(grid)])
    reach = float(known.max(initial=0.0)) or 1.0
    figure = new_figure(1.1 + 0.3 * grid.shape[0])
    axes = figure.subplots()
    image = axes.imshow(
        np.ma.masked_invalid(grid), cmap=_COLOR_MAP, vmin=-reach, vmax=reach, aspect="auto"
    )
    for (row, column), value in np.ndenumerate(grid):
        dark = math.isfinite(value) and abs(value) > 0.7 * reach
        axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=6,
                  color="white" if dark else "black")  # fmt: skip
    axes.set_yticks(range(grid.shape[0]), [name_of(name) for name in labels[0]])
    axes.set_xticks(
        range(grid.shape[1]), [name_of(name) for name in labels[1]],
        rotation=40, ha="right", rotation_mode="anchor",
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, location="top", aspect=40, pad=0.02)
    bar.set_label(title)
    return figure


# The lines of a chart as it stands on a screen.


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
