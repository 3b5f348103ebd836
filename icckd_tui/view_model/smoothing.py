"""Exponential smoothing of the raw series: causal, free of the start's bias, gaps kept.

Smoothing what was thinned out before would make the result depend on the width of the screen;
this runs over every value.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
WEIGHTS = (0.0, 0.6, 0.8, 0.9, 0.95, 0.98)  # of the past; 0 leaves a series as it is
_SMALLEST = 1e-100  # weights below this end a block


def smoothed(values: Floats, weight: float) -> Floats:
    """Return the exponentially weighted mean of all values up to each, NaN where there is none.

    Args:
        values: One series in its last axis, NaN where it has no value.
        weight: Share of the past, from 0 (no smoothing) to below 1.

    Returns:
        s_t / c_t with s_t = w s_(t-1) + (1 - w) x_t and c_t the same for a series of ones (the
        debiasing of Adam); a gap changes neither.
    """
    if weight <= 0.0 or not values.size:
        return values
    known = np.isfinite(values)
    if known.all():
        return _dense(values, weight)
    found = np.full(values.shape, np.nan)
    for place in np.ndindex(values.shape[:-1]):
        at = known[place]
        found[place][at] = _dense(values[place][at], weight)
    return found


def _dense(values: Floats, weight: float) -> Floats:
    """Smooth in blocks short enough that powers of the weight stay representable."""
    count = values.shape[-1]
    block = max(1, min(count, int(np.log(_SMALLEST) / np.log(weight))))
    powers = weight ** np.arange(1, block + 1)
    found = np.empty(values.shape)
    carried = np.zeros(values.shape[:-1])
    for start in range(0, count, block):
        part = values[..., start : start + block]
        scale = powers[: part.shape[-1]]
        inner = np.cumsum(part / scale, axis=-1) * scale * (1.0 - weight)
        found[..., start : start + block] = inner + carried[..., None] * scale
        carried = found[..., start + part.shape[-1] - 1]
    return found / (1.0 - weight ** np.arange(1, count + 1, dtype=np.float64))
