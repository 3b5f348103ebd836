"""How figures look: one column wide, colours that the colour-blind can tell apart, text as text."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from icckd.report.text import display

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
