"""Figures for a paper, drawn with matplotlib (the extra `figures`), which `plots` alone imports.

Each figure is written as PDF, SVG and PNG, one column wide, text as text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icckd.errors import MachineError

if TYPE_CHECKING:
    from icckd.results.query import Results
    from icckd.results.types import StudyInfo

FORMATS = ("pdf", "svg", "png")
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
