"""How much the loss of single steps jumps."""

import numpy as np
from numpy.typing import NDArray


def stability(ce: NDArray[np.float64], steps_per_epoch: int) -> float:
    """Return the root mean square of the step cross-entropy around its moving average, in nats.

    The average at step t is the mean of the steps t - h to t + h, where h is the number of steps
    of an epoch, but no more than there are steps before t or after t: the window stays centred,
    so that a steady descent adds nothing, and shrinks to the step itself at both ends.

    >>> stability(np.array([3.0, 2.0, 1.0]), 1)
    0.0
    """
    at = np.arange(len(ce))
    half = np.minimum(steps_per_epoch, np.minimum(at, len(ce) - 1 - at))
    total = np.concatenate([[0.0], np.cumsum(ce)])
    average = (total[at + half + 1] - total[at - half]) / (2 * half + 1)
    return float(np.sqrt(np.mean((ce - average) ** 2)))
