"""Figures for a paper, drawn with matplotlib (the extra `figures`), which `plots` alone imports.

Each figure is written as PDF, SVG and PNG, one column wide, text as text.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from icckd.errors import MachineError, UsageError
from icckd.study.paths import nearest

if TYPE_CHECKING:
    from icckd.results.query import Results
    from icckd.results.types import StudyInfo

FORMATS = ("pdf", "svg", "png")
FigureKind = Literal["forest", "curves", "heatmap", "cost"]
SCREEN_DPI = 150
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Titles, a note above, the shown part of x, and which axes are logarithmic."""

    x: str
    y: str
    low: float
    high: float
    log_x: bool = False
    log_y: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnLine:
    """One arm: its mean with an interval, its seeds, or both. `place` in the study gives color.

    Shape suffixes: E epochs, S seeds.
    """

    name: str
    place: int
    x_E: Floats  # noqa: N815
    mean_E: Floats | None  # noqa: N815
    low_E: Floats | None  # noqa: N815
    high_E: Floats | None  # noqa: N815
    seeds_SE: Floats | None  # noqa: N815


def draw_figures(results: "Results", study: "StudyInfo", folder: Path) -> list[Path]:
    """Write every figure that the results allow into a folder; return the files.

    Raises:
        MachineError: matplotlib is not installed.
    """
    _need_matplotlib()
    from icckd.report.figures.plots import report_figures, saved, style
    from icckd.results.types import mark_of

    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    with style():
        for name, figure in report_figures(results, study).items():
            if figure is not None:
                if mark := mark_of(study):
                    figure.suptitle(mark)
                files += [saved(figure, folder / f"{name}.{kind}") for kind in FORMATS]
    return files


class Plot:
    """A figure that a notebook shows; `figure` is matplotlib's, for changes before it is saved."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it in the format of the suffix, text as text; return the file."""
        from icckd.report.figures.plots import saved, style

        with style():
            return saved(self.figure, Path(path))

    def __repr__(self) -> str:
        axes = ", ".join(each.get_ylabel().replace("\n", " ") for each in self.figure.axes)
        return f"<Plot of {axes}>" if axes else "<Plot>"

    def _repr_png_(self) -> bytes:
        from icckd.report.figures.plots import style

        out = io.BytesIO()
        with style():
            self.figure.savefig(out, format="png", dpi=SCREEN_DPI)
        return out.getvalue()


def draw_plot(
    results: "Results", study: "StudyInfo", figure: FigureKind, metric: str | None = None
) -> Plot:
    """Return one figure of a study.

    Args:
        results: The results.
        study: The study.
        figure: Which.
        metric: The series that curves show; None means the most useful one of validation.

    Raises:
        MachineError: matplotlib is not installed.
        UsageError: There is no such figure or series, or nothing to show yet.
    """
    if figure not in get_args(FigureKind):
        raise UsageError(f"there is no figure {figure!r}", hint=", ".join(get_args(FigureKind)))
    _need_matplotlib()
    from icckd.report.figures import plots
    from icckd.results.types import mark_of

    series = results.series(study)
    if metric is not None and metric not in series:
        raise UsageError(
            f"study {study.name!r} has no series {metric!r}", hint=nearest(metric, list(series))
        )
    with plots.style():
        if figure == "curves":
            shown = metric or next(iter(series), "")
            drawn = plots.draw_curves(results, study, shown)
        else:
            draw = {
                "forest": plots.draw_forest,
                "heatmap": plots.draw_heatmap,
                "cost": plots.draw_cost,
            }
            drawn = draw[figure](results, study)
        if drawn is None:
            raise UsageError(
                f"there is nothing to draw yet: {figure} of {study.name}",
                hint="icckd.results(study).progress says what is missing",
            )
        if mark := mark_of(study):
            drawn.suptitle(mark)
    return Plot(drawn)


def draw_lines(axes: Axes, lines: Sequence[DrawnLine], path: Path) -> None:
    """Write the lines of a chart, in the format of the suffix.

    Raises:
        MachineError: matplotlib is not installed.
    """
    _need_matplotlib()
    from icckd.report.figures.plots import lines_figure, saved, style

    with style():
        saved(lines_figure(axes, lines), path)


def _need_matplotlib() -> None:
    try:
        import icckd.report.figures.plots  # noqa: F401
    except ModuleNotFoundError as error:
        raise MachineError(
            "figures need matplotlib, which is not installed",
            hint="pip install 'icckd[figures]'",
        ) from error
