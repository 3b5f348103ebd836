"""Lines that somebody looks at, and their axes: what a figure of them is drawn from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
