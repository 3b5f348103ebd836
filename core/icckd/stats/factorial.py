"""Main effects and two-way interactions of a full factorial design, seed by seed.

Shapes: S seeds; one further axis a factor, of as many entries as it has levels, reference first.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from icckd.stats.paired import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One effect: which factors (by axis) at which levels, and its value under each seed."""

    factors: tuple[int, ...]
    levels: tuple[int, ...]
    by_seed: FloatArray


def contrasts(cells: FloatArray) -> Iterator[Contrast]:
    """Yield every main effect, then every two-way interaction, each as a contrast by seed.

    The main effect of a level is its mean over all other factors minus that of the reference
    level. The interaction of two levels is the difference of differences, again averaged over the
    other factors: with a dot for that average, (y_ij. - y_i0.) - (y_0j. - y_00.). Each seed is a
    block that holds every cell, so Student's t over the seeds tests each contrast with its own
    error term (as a repeated-measures analysis of variance does, whose F is t^2 for two levels).

    Args:
        cells: Finite values, shape (S, levels of factor 1, levels of factor 2, ...).
    """
    axes = range(cells.ndim - 1)
    for axis in axes:
        means = _averaged(cells, (axis,))
        for level in range(1, means.shape[1]):
            effect = means[:, level] - means[:, 0]
            yield Contrast(factors=(axis,), levels=(level,), by_seed=effect)
    for pair in itertools.combinations(axes, 2):
        means = _averaged(cells, pair)
        for first, second in itertools.product(*(range(1, size) for size in means.shape[1:])):
            both = means[:, first, second] - means[:, first, 0]
            alone = means[:, 0, second] - means[:, 0, 0]
            yield Contrast(factors=pair, levels=(first, second), by_seed=both - alone)


def _averaged(cells: FloatArray, kept: tuple[int, ...]) -> FloatArray:
    """Return the mean over all factors but those kept."""
    others = tuple(axis + 1 for axis in range(cells.ndim - 1) if axis not in kept)
    return np.asarray(cells.mean(axis=others) if others else cells, dtype=np.float64)
