"""Heat maps: factor by level where the study has factors, else arm by outcome."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from icckd.design.drafts import label
from icckd.report.cells import scale_of
from icckd.report.figures.style import name_of, new_figure
from icckd.results.effects import levels_of
from icckd.results.read import Results
from icckd.results.types import StudyInfo
from icckd.spec.metrics import OUTCOMES
from icckd.stats.paired import FloatArray

_MAP = "PuOr_r"  # diverging, told apart by all common kinds of colour blindness


def draw_heatmap(results: Results, study: StudyInfo) -> Figure | None:
    """Return the map that fits the design; None where there is nothing to show."""
    levels = levels_of(study)
    return _factors(results, study, levels) if levels else _outcomes(results, study)


def _factors(
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
    names = [[name_of(label(v), 12) for v in factor["levels"]] for factor in factors]
    texts = [
        [
            f"{names[i][j]}\n{scale.difference(grid[i, j])}" if math.isfinite(grid[i, j]) else ""
            for j in range(grid.shape[1])
        ]
        for i in range(grid.shape[0])
    ]
    unit = " (points)" if scale.unit == "%" else f" ({scale.unit})" if scale.unit else ""
    columns = ["reference", *(f"level {j}" for j in range(1, grid.shape[1]))]
    return _draw(
        grid, texts, ([f["name"] for f in factors], columns),
        f"{name_of(study.primary)}: difference\nfrom the reference level{unit}",
    )  # fmt: skip


def _outcomes(results: Results, study: StudyInfo) -> Figure | None:
    """Draw standardized paired differences, oriented so that positive is better."""
    rows = {(row.arm, row.metric): row for row in results.comparisons(study)}
    arms = [arm.name for arm in study.arms if arm.name != study.baseline]
    metrics = [
        metric
        for metric in study.metrics
        if metric in OUTCOMES
        and OUTCOMES[metric].direction != "none"
        and any(rows[arm, metric].effect_size is not None for arm in arms)
    ]
    if not arms or not metrics:
        return None
    sign = [1.0 if OUTCOMES[metric].direction == "higher" else -1.0 for metric in metrics]
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
    return _draw(
        grid, texts, (arms, metrics),
        f"d_z from {name_of(study.baseline)}, positive is better",
    )  # fmt: skip


def _draw(
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
        np.ma.masked_invalid(grid), cmap=_MAP, vmin=-reach, vmax=reach, aspect="auto"
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
