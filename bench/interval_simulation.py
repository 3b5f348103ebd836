"""How often the statistics are right, over thousands of simulated studies (synthetic data).

Prints a Markdown report: `python bench/interval_simulation.py > bench/results/...`. Half a minute
on one core. Studies are drawn from fixed seeds, so the figures are reproducible.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import scipy.stats

from icckd.results.compare import pair
from icckd.stats.paired import (
    bootstrap_interval,
    equivalence,
    hedges_correction,
    holm,
    paired_difference,
    sign_flip_p,
    worst_rank_p,
)
from icckd.stats.power import power, student
from icckd.stats.sequential import anytime_sign_p, critical_t

STUDIES = 20_000
FEW = 1_000  # where each study takes milliseconds
LOOKS = (8, 11, 14, 17, 20)

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Differences of a normal distribution with mean 0 and spread 1."""
    return rng.normal(0, 1, shape)


def accuracy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Differences of two accuracies near 92 % on 1,000 test images, a seed's own level shared."""
    level = np.clip(rng.normal(0.92, 0.01, shape), 0, 1)
    return (rng.binomial(1000, level) - rng.binomial(1000, level)) / 10


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Differences with a long right tail (exponential), mean 0 and spread 1."""
    return rng.exponential(1, shape) - 1


DRAWS: dict[str, Draw] = {"normal": normal, "accuracies": accuracy, "skewed": skewed}


def t_statistics(values: np.ndarray) -> np.ndarray:
    """Return t of "mean 0" after n = 2, 3, ... of the columns, shape (studies, columns - 1)."""
    count = np.arange(1, values.shape[1] + 1)
    mean = values.cumsum(axis=1) / count
    squares = (values**2).cumsum(axis=1) - count * mean**2
    n = count[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean[:, 1:] / np.sqrt(np.maximum(squares[:, 1:], 1e-12) / (n - 1) / n)
    return np.abs(t)


def coverage(draw: Draw, n: int) -> tuple[float, float]:
    """Return how often the t interval, and the confidence sequence at that n, hold the mean."""
    t = t_statistics(draw(np.random.default_rng(n), (STUDIES, n)))[:, -1]
    limits = scipy.stats.t.ppf(0.975, n - 1), critical_t(n, effect=1.0)
    return float((t <= limits[0]).mean()), float((t <= limits[1]).mean())


def bootstrap_coverage(n: int) -> float:
    """Return how often the BCa bootstrap interval holds the mean of normal differences."""
    values = normal(np.random.default_rng(n), (FEW, n))
    intervals = [bootstrap_interval(row) for row in values]
    return float(np.mean([i is not None and i[0] <= 0 <= i[1] for i in intervals]))


def family_error(arms: int, n: int, effect: float = 0.0) -> tuple[float, float]:
    """Return how often Holm finds any difference, and an uncorrected test any, in a family.

    Arms share their baseline, so that their differences are correlated; `effect` moves all arms,
    in spreads of the paired differences.
    """
    rng, any_holm, any_plain = np.random.default_rng(arms * 100 + n), 0, 0
    studies = STUDIES // 4
    for _ in range(studies):
        baseline = rng.normal(0, 1, n)
        p = [
            paired_difference(rng.normal(effect * math.sqrt(2), 1, n), baseline).p
            for _ in range(arms)
        ]
        any_holm += min(holm(p)) < 0.05
        any_plain += min(p) < 0.05
    return any_holm / studies, any_plain / studies


def equivalence_rates(n: int, bound: float) -> tuple[float, float]:
    """Return how often TOST says "equivalent" at a true difference of the bound, and of 0."""
    values = normal(np.random.default_rng(n), (STUDIES // 4, n))
    at_bound = [equivalence(row + bound, bound=bound).p < 0.05 for row in values]
    at_zero = [equivalence(row, bound=bound).p < 0.05 for row in values]
    return float(np.mean(at_bound)), float(np.mean(at_zero))


def looking(draw: Draw, looks: tuple[int, ...], effect: float = 0.0) -> tuple[float, float]:
    """Return how often a plain t test, and the sequential rule, ever find a difference."""
    values = draw(np.random.default_rng(len(looks)), (STUDIES, looks[-1])) + effect
    t = t_statistics(values)[:, [n - 2 for n in looks]]
    plain = scipy.stats.t.ppf(0.975, np.array(looks) - 1)
    ours = np.array([critical_t(n, effect=1.0) for n in looks])
    return float((t > plain).any(axis=1).mean()), float((t > ours).any(axis=1).mean())


def coverage_when_stopped(target: float, most: int) -> tuple[float, float]:
    """Return coverage of both intervals when seeds stop at a half-width, 3 at a time from 5."""
    values = normal(np.random.default_rng(5), (STUDIES // 4, most))
    hits = np.zeros(2)
    for row in values:
        for n in range(5, most + 1, 3):
            error = row[:n].std(ddof=1) / math.sqrt(n)
            half = critical_t(n, effect=1.0) * error
            if half < target or n + 3 > most:
                mean = abs(row[:n].mean())
                hits += [mean <= scipy.stats.t.ppf(0.975, n - 1) * error, mean <= half]
                break
    return float(hits[0] / len(values)), float(hits[1] / len(values))


def exact_error(n: int) -> tuple[float, float]:
    """Return how often sign flips, and worst ranks with a fifth never reached, err at 0.05."""
    rng = np.random.default_rng(n)
    studies = STUDIES // 8
    flips = [sign_flip_p(row) <= 0.05 for row in normal(rng, (studies, n))]
    worst = 0
    for _ in range(studies):
        arms = rng.normal(10, 2, (2, n)) + rng.normal(0, 2, n)
        arms[rng.random((2, n)) < 0.2] = np.inf
        pairs = pair(dict(enumerate(arms[0])), dict(enumerate(arms[1])))
        worst += worst_rank_p(pairs.differences) <= 0.05
    return float(np.mean(flips)), worst / studies


def sign_error(most: int) -> float:
    """Return how often the sequential sign test ever finds a difference up to so many pairs."""
    signs = np.random.default_rng(most).choice([-1.0, 1.0], (FEW, most))
    return float(np.mean([min(anytime_sign_p(r[:n]) for n in range(1, most + 1)) < 0.05
                          for r in signs]))  # fmt: skip


def hedges_bias(n: int, effect: float) -> tuple[float, float]:
    """Return the mean of d_z without and with Hedges' correction."""
    values = normal(np.random.default_rng(n), (STUDIES, n)) + effect
    d_z = values.mean(axis=1) / values.std(axis=1, ddof=1)
    return float(d_z.mean()), float(d_z.mean() * hedges_correction(n - 1))


def report() -> Iterator[str]:
    """Yield the report, line by line."""
    yield "# Simulated studies (synthetic data)\n"
    yield f"{STUDIES:,} studies a figure where not said otherwise; level 0.05, coverage 95 %.\n"
    yield "## Coverage at a fixed number of seeds, percent\n"
    yield "| n | " + " | ".join(f"t, {d} | sequence, {d}" for d in DRAWS) + " |"
    yield "| --- " * (1 + 2 * len(DRAWS)) + "|"
    for n in (3, 5, 8, 10, 20):
        cells = [f"{100 * c:.1f}" for draw in DRAWS.values() for c in coverage(draw, n)]
        yield f"| {n} | " + " | ".join(cells) + " |"
    yield (
        f"\nBCa bootstrap, normal, {FEW:,} studies: "
        + ", ".join(f"n = {n}: {100 * bootstrap_coverage(n):.1f} %" for n in (10, 20))
        + ".\n"
    )
    yield "## Any false verdict in a family, percent\n"
    yield "| arms | n | Holm | uncorrected |\n| --- | --- | --- | --- |"
    for arms, n in ((1, 5), (2, 8), (6, 8)):
        corrected, plain = family_error(arms, n)
        yield f"| {arms} | {n} | {100 * corrected:.1f} | {100 * plain:.1f} |"
    found = power(8, 1.5, student(0.05))
    yield f"\nPower at d_z = 1.5, one arm, n = 8: computed {100 * found:.1f} %,"
    yield f"simulated {100 * family_error(1, 8, 1.5)[0]:.1f} %.\n"
    yield "## Equivalence, percent of studies called equivalent\n"
    yield "| n | bound (spreads) | true difference = bound | true difference = 0 |"
    yield "| --- | --- | --- | --- |"
    for n, bound in ((5, 1.0), (8, 1.0), (20, 1.0)):
        error, hit = equivalence_rates(n, bound)
        yield f"| {n} | {bound:g} | {100 * error:.1f} | {100 * hit:.1f} |"
    yield "\n## Looking again and again, percent of studies that ever find a difference\n"
    yield "| looks | differences | true d_z | plain t test | sequential rule |"
    yield "| --- | --- | --- | --- | --- |"
    every = tuple(range(2, 101))
    for name, looks in (("8, 11, 14, 17, 20", LOOKS), ("every seed, 2 to 100", every)):
        for kind, draw in DRAWS.items():
            plain, ours = looking(draw, looks)
            yield f"| {name} | {kind} | 0 | {100 * plain:.1f} | {100 * ours:.1f} |"
    for effect in (1.0, 1.5, 2.0):
        plain, ours = looking(normal, LOOKS, effect)
        yield f"| 8, 11, 14, 17, 20 | normal | {effect:g} | - | {100 * ours:.1f} |"
    plain, ours = coverage_when_stopped(0.9, 50)
    yield "\nCoverage when seeds stop at a half-width of 0.9 spreads (3 at a time, 5 to 50):"
    yield f"plain t {100 * plain:.1f} %, sequential rule {100 * ours:.1f} %."
    yield f"Sequential sign test, looks after each of 60 pairs: {100 * sign_error(60):.1f} %.\n"
    yield "## Exact tests, percent of false findings\n"
    yield "| n | sign flips | worst ranks, a fifth never reached |\n| --- | --- | --- |"
    for n in (5, 6, 8, 10):
        flips, worst = exact_error(n)
        yield f"| {n} | {100 * flips:.1f} | {100 * worst:.1f} |"
    plain, corrected = hedges_bias(5, 0.8)
    yield f"\nMean of d_z at a true 0.8 and n = 5: {plain:.3f}, with Hedges' correction"
    yield f"{corrected:.3f}."


if __name__ == "__main__":
    for line in report():
        print(line, flush=True)
