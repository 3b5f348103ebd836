"""Figures for a paper, drawn with matplotlib (the extra `figures`), imported here alone.

Each figure is written as PDF, SVG and PNG, one column wide, text as text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from icckd.errors import MachineError
from icckd.report.lines import Axes, DrawnLine
from icckd.results.read import Results
from icckd.results.synthetic import on_synthetic_data
from icckd.results.types import StudyInfo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")


def draw_figures(results: Results, study: StudyInfo, folder: Path) -> list[Path]:
    """Write every figure that the results allow into a folder; return the files.

    Raises:
        MachineError: matplotlib is not installed.
    """
    _need_matplotlib()
    from icckd.report.figures.style import saved, style

    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    with style():
        for name, figure in _figures(results, study).items():
            if figure is not None:
                if on_synthetic_data(study):
                    figure.suptitle("synthetic data")
                files += [saved(figure, folder / f"{name}.{kind}") for kind in FORMATS]
    return files


def draw_lines(axes: Axes, lines: Sequence[DrawnLine], path: Path) -> None:
    """Write lines as they stand on a screen, in the format of the suffix.

    Raises:
        MachineError: matplotlib is not installed.
    """
    _need_matplotlib()
    from icckd.report.figures.lines import lines_figure
    from icckd.report.figures.style import saved, style

    with style():
        saved(lines_figure(axes, lines), path)


def _need_matplotlib() -> None:
    try:
        import icckd.report.figures.style  # noqa: F401
    except ModuleNotFoundError as error:
        raise MachineError(
            "figures need matplotlib, which is not installed",
            hint="pip install 'icckd[figures]'",
        ) from error


def _figures(results: Results, study: StudyInfo) -> "dict[str, Figure | None]":
    from icckd.report.figures.cost import draw_cost
    from icckd.report.figures.curves import draw_curves
    from icckd.report.figures.forest import draw_forest
    from icckd.report.figures.heatmap import draw_heatmap

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
