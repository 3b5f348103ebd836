"""How often verdicts without pairs are wrong: the part `unpaired` of `statistics_simulation.py`.

Whole studies of K arms and a baseline that share no seed, judged by Welch's t test in the closed
family. The test is written here for many studies at once, and held to the product's own.

Shapes: R studies, K arms, A seeds of an arm, B seeds of the baseline.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from scipy import special
from statistics_simulation import LIMIT, SEED, Array, R, is_false, true_means, verdicts

from icckd.stats import fixed
from icckd.stats.fixed import LEAST_PAIRS
from icckd.stats.unpaired import TwoSamples

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def accuracies(images: int, accuracy: float) -> Draw:
    """Return noise of accuracies on test images, in points."""
    return lambda rng, shape: 100 * rng.binomial(images, accuracy, shape) / images


NOISES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape),
    "100 images, 98 %": accuracies(100, 0.98),
    "1,000 images, 98 %": accuracies(1000, 0.98),
    "1,000 images, 80 %": accuracies(1000, 0.8),
    "skewed (not gated)": lambda rng, shape: rng.exponential(size=shape),
}
SIZES = ((5, 20), (6, 6), (6, 12), (12, 6), (8, 8), (20, 6), (20, 20))
SPREADS = (1.0, 3.0)
"""Of the arms, over that of the baseline; of accuracies it follows from the accuracy."""


def tails(arm: Array, baseline: Array) -> Callable[[float, int, float], Array]:
    """Return the one-sided p of "at most a value", as the parts of `statistics_simulation` do.

    Args:
        arm: Values, shape (R, K, A).
        baseline: Values, shape (R, B).
    """
    counts = arm.shape[-1], baseline.shape[-1]
    mine = arm.var(-1, ddof=1) / counts[0]
    theirs = baseline.var(-1, ddof=1)[:, None] / counts[1]
    freedom = min(counts) - 1
    mean, error = arm.mean(-1) - baseline.mean(-1)[:, None], np.sqrt(mine + theirs)

    def tail(value: float, sign: int, share: float) -> Array:
        distance = sign * (mean - value)
        certain = np.where(distance > 0, 0.0, np.where(distance < 0, 1.0, 0.5))
        with np.errstate(invalid="ignore", divide="ignore"):
            p = special.stdtr(freedom, -distance / error)
        return np.where(error > 0, p, certain)

    return tail


def same_as_product(studies: int = 200) -> int:
    """Hold the test of here to the product's; return how many differences were compared."""
    rng = np.random.default_rng([SEED, 70])
    arm, baseline = rng.normal(0.4, 1, (studies, 2, 7)), rng.normal(size=(studies, 9))
    tail = tails(arm, baseline)
    difference = 2 * np.minimum(tail(0.0, 1, 0.5), tail(0.0, -1, 0.5))
    alike = np.maximum(tail(-1.0, 1, 1.0), tail(1.0, -1, 1.0))
    for place in np.ndindex(studies, 2):
        samples = TwoSamples(arm[place], baseline[place[0]])
        assert np.isclose(fixed.difference_ways(samples)[0][0], difference[place])
        assert np.isclose(fixed.equivalence_ways(samples, 1.0)[0][0], alike[place])
    return 2 * studies


def error(  # a cell of the table
    noise: str, sizes: tuple[int, int], k: int, spread: float, truth: str, bound: float
) -> float:
    """Return the share of studies with any false verdict."""
    if min(sizes) < LEAST_PAIRS:
        return 0.0
    key = [SEED, 71, *sizes, k, int(spread), len(truth), list(NOISES).index(noise), int(9 * bound)]
    rng = np.random.default_rng(key)
    draw = NOISES[noise]
    sample = draw(np.random.default_rng([SEED, 72]), (200_000,))
    centre, scale = sample.mean(), sample.std()
    arm = spread * (draw(rng, (R, k, sizes[0])) - centre)
    means = true_means(truth, k, bound * scale)
    baseline = draw(rng, (R, sizes[1])) - centre
    found = verdicts(tails(arm + means[:, None], baseline), bound * scale)
    return float(is_false(*found, means).mean())


def unpaired_table() -> Iterator[str]:
    """Yield the worst cell of every noise and pair of sizes, over arms, spreads and truths."""
    yield f"{same_as_product()} differences have the same p by the product's own code.\n"
    yield "| noise | " + " | ".join(f"{a} and {b}" for a, b in SIZES) + " |"
    yield "| --- " * (1 + len(SIZES)) + "|"
    over = 0
    for noise in NOISES:
        worst = []
        for sizes in SIZES:
            spreads = SPREADS[:1] if "images" in noise else SPREADS
            cells = itertools.product((1, 3, 8), spreads, ("null", "bound", "half"), (0.5, 3.0))
            found = [
                error(noise, sizes, k, spread, truth, bound)
                for k, spread, truth, bound in cells
                if k > 1 or truth != "half"
            ]
            worst.append(max(found))
            over += sum(each > LIMIT for each in found) if "not gated" not in noise else 0
        yield f"| {noise} | " + " | ".join(f"{100 * each:.1f}" for each in worst) + " |"
    yield f"\nLimit {100 * LIMIT:.2f} %; gated cells over it: {over}."
