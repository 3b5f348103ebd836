"""How often verdicts are wrong and how often they come: thousands of studies, synthetic data.

`python bench/statistics_simulation.py PART`, each part with generator seeds of its own:

    fixed       any false verdict of a fixed number of seeds: a cell for every number of seeds, test
                set, family, truth, bound and noise
    power       power of a difference against the paired t test with Holm's correction
    looks       a first look and one extension as advised: what is decided, with how many seeds
    error       any false verdict of that whole procedure
    unpaired    any false verdict of arms that share no seed, by Welch's t test
    afterwards  any false difference of looks without end after what was declared
    items       any false verdict about items, alone and crossed with seeds (`item_simulation.py`)

A cell fails when more of its R studies err than the 99.9 % quantile of Binomial(R, 0.05). The rules
are written anew here for many studies at once; `same_as_product` holds them to the product's own
code.

Shapes: R studies, K arms, S seeds.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

from icckd.results.compare import compare
from icckd.results.types import StudyInfo
from icckd.stats.fixed import FLIP_LEVEL, FLIPS_UP_TO, LEAST_PAIRS
from icckd.stats.sequential import critical_t
from icckd.stats.two_stage import (
    LEAST_EXTENSION,
    combine,
    combined_p,
    first_share,
    fixed_size,
    spread_limit,
)
from icckd.study.records import Arm, Hypothesis

R = 4_000
SEED = 20_261_129  # of the generators; the rules' constants were picked on others
LEVEL = 0.05
LIMIT = float(stats.binom.ppf(0.999, R, LEVEL)) / R
Array = np.ndarray


@dataclass
class Pairs:
    """Differences of many studies and the least variance of each, both of shape (R, K, S)."""

    differences: Array
    floors: Array

    def part(self, seeds: slice) -> "Pairs":
        """Return some of the seeds."""
        return Pairs(self.differences[..., seeds], self.floors[..., seeds])

    @property
    def n(self) -> int:
        """Seeds."""
        return int(self.differences.shape[-1])


# Noise: what training does to an arm's differences when nothing is true.

Noise = Callable[[np.random.Generator, int, int, int, int], Pairs]


def counted(accuracy: float, lost: float, spread: str = "") -> Noise:
    """Return noise of accuracies on N test images, in images.

    The baseline is right about each image with a probability `accuracy`; an arm is wrong about one
    that the baseline has right with probability `lost`, and right about others so that it is as
    good on average. `spread` adds what training does to a whole model: `normal` or `t3`.
    """

    def draw(rng: np.random.Generator, r: int, k: int, n: int, images: int) -> Pairs:
        right = rng.binomial(images, accuracy, (r, 1, n))
        won = accuracy * lost / (1 - accuracy)
        losses = rng.binomial(np.broadcast_to(right, (r, k, n)), lost)
        wins = rng.binomial(np.broadcast_to(images - right, (r, k, n)), won)
        shift = np.zeros((r, k, n))
        if spread:
            noise = rng.standard_t(3, (r, k, n)) if spread == "t3" else rng.normal(size=(r, k, n))
            shift = np.round(noise * max(1.0, 0.02 * images))
        return Pairs(wins - losses + shift, wins + losses + np.abs(shift) + 1.0)

    return draw


def continuous(sample: Callable[[np.random.Generator, tuple[int, ...]], Array]) -> Noise:
    """Return noise of a metric that counts nothing; arms share their baseline."""

    def draw(rng: np.random.Generator, r: int, k: int, n: int, images: int) -> Pairs:
        values = sample(rng, (r, k, n)) - sample(rng, (r, 1, n))
        return Pairs(values, np.zeros_like(values))

    return draw


def skewed(rng: np.random.Generator, r: int, k: int, n: int, images: int) -> Pairs:
    """Return differences with a long right tail, mean 0."""
    values = rng.exponential(1, (r, k, n)) - 1
    return Pairs(values, np.zeros_like(values))


GATED: dict[str, Noise] = {
    "binomial": counted(0.9, 0.1),
    "few flips": counted(0.9, 0.01),
    "ceiling": counted(0.98, 0.02),
    "normal, counted": counted(0.9, 0.05, "normal"),
    "t3, counted": counted(0.9, 0.05, "t3"),
    "normal": continuous(lambda rng, shape: rng.normal(size=shape)),
    "t3": continuous(lambda rng, shape: rng.standard_t(3, shape)),
}
PRINTED: dict[str, Noise] = {"skewed (not gated)": skewed}
ALL = {**GATED, **PRINTED}


def is_counted(name: str) -> bool:
    """Whether a noise is about test images."""
    return name not in ("normal", "t3", *PRINTED)


# The tests, for many studies at once.


def moments(pairs: Pairs) -> tuple[Array, Array, Array]:
    """Return mean, standard error and least standard error, shape (R, K)."""
    n = pairs.n
    error = pairs.differences.std(axis=-1, ddof=1) / np.sqrt(n)
    equal = np.ptp(pairs.differences, axis=-1) == 0
    return (
        pairs.differences.mean(axis=-1),
        np.where(equal, 0.0, error),
        np.sqrt(pairs.floors.mean(axis=-1) / n),
    )


def tail(pairs: Pairs, value: float, sign: int = 1) -> Array:
    """Return the one-sided p of "the mean is at most a value", shape (R, K)."""
    mean, error, floor = moments(pairs)
    distance = sign * (mean - value)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_spread = special.stdtr(pairs.n - 1, -np.where(error > 0, distance / error, 0.0))
        by_floor = special.ndtr(-np.where(floor > 0, distance / floor, np.inf))
    certain = np.where(distance > 0, 0.0, np.where(distance < 0, 1.0, 0.5))
    return np.maximum(np.where(error > 0, by_spread, certain), np.where(floor > 0, by_floor, 0.0))


def flips_agree(differences: Array, value: float, sign: int, share: float) -> Array:
    """Return where the exact one-sided test rejects "at most a value" at a share of 0.05.

    Args:
        differences: Of shape (studies, S).
        value: The value.
        sign: -1 for "at least".
        share: 0.5 where p is to be two-sided.
    """
    n = differences.shape[-1]
    if n > FLIPS_UP_TO:
        return np.ones(differences.shape[:-1], dtype=bool)
    above = sign * (differences - value)
    found = (above > 0).all(axis=-1) & (n >= LEAST_PAIRS)  # the only flip as large is none at all
    chosen = ((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1).T.astype(float)
    for rows in np.array_split(np.flatnonzero(~found), max(1, len(found) // 1_000)):
        sums = above[rows] @ chosen  # of the subsets that are flipped
        scale = 1e-9 * n * np.maximum(1.0, np.abs(above[rows]).max(axis=-1, initial=0.0))
        flips = 1 + (sums <= scale[:, None]).sum(axis=-1)
        found[rows] = flips <= FLIP_LEVEL * share * 2**n + 1e-9
    return found


def agreed(p: Array, pairs: Pairs, value: float, sign: int, share: float) -> Array:
    """Return p, and 1 where it is small and the exact test does not agree."""
    out = p.copy()
    small = p <= FLIP_LEVEL * share
    if small.any() and pairs.n <= FLIPS_UP_TO:
        out[small] = np.where(
            flips_agree(pairs.differences[small], value, sign, share), p[small], 1.0
        )
    return out


Tails = Callable[[float, int, float], Array]
"""The one-sided p of "at most a value" (sign 1) that agrees with exact flips at a share of 0.05."""


def fixed_tails(pairs: Pairs) -> Tails:
    """Return the tails of all seeds at once."""
    return lambda value, sign, share: agreed(tail(pairs, value, sign), pairs, value, sign, share)


def look_tails(first: Pairs, second: Pairs | None, planned: int) -> Tails:
    """Return the tails of a first look, or of both looks, at the level of the whole procedure."""
    spent = first_share(planned)

    def tails(value: float, sign: int, share: float) -> Array:
        p_first = tail(first, value, sign)
        p = np.ones_like(p_first)
        if spent:
            p = np.minimum(1, agreed(p_first, first, value, sign, share) / spent)
        if second is None:
            return p
        whole = Pairs(
            np.concatenate([first.differences, second.differences], axis=-1),
            np.concatenate([first.floors, second.floors], axis=-1),
        )
        both = combined_p(combine(p_first, tail(second, value, sign)), spent)
        return np.minimum(p, agreed(both, whole, value, sign, share))

    return tails


def verdicts(tails: Tails, bound: float, level: float = LEVEL) -> tuple[Array, Array]:
    """Return which differences and which equivalences the family finds, each of shape (R, K)."""
    difference = np.minimum(1, 2 * np.minimum(tails(0.0, 1, 0.5), tails(0.0, -1, 0.5)))
    alike = np.maximum(tails(-bound, 1, 1.0), tails(bound, -1, 1.0))
    return closed(difference, alike, level)


def closed(difference: Array, alike: Array, level: float) -> tuple[Array, Array]:
    """Return what the closed test of a family finds."""
    differs, equals = np.zeros(difference.shape, bool), np.zeros(difference.shape, bool)
    while True:
        cost = np.where(~differs, 3.0, np.where(~equals, 2.0, 0.0))
        others = cost.sum(axis=1, keepdims=True) - cost
        new = difference <= level * 3 / (3 + others), alike <= level * 2 / (2 + others)
        if ((new[0] <= differs) & (new[1] <= equals)).all():
            return differs, equals
        differs, equals = differs | new[0], equals | new[1]


# Cells: noise, truth, bound.


def true_means(truth: str, k: int, bound: float) -> Array:
    """Return the true mean difference of each arm; arms at the bound are worse."""
    at_bound = {"null": 0, "bound": k, "half": k // 2}[truth]
    return np.where(np.arange(k) < at_bound, -bound, 0.0)


def shifted(pairs: Pairs, means: Array, counted_too: bool) -> Pairs:
    """Return pairs with true means; images that a shift turns are judged differently, too."""
    turned = np.abs(means)[:, None] if counted_too else 0.0
    return Pairs(pairs.differences + means[:, None], pairs.floors + turned)


def bounds_of(name: str, images: int) -> tuple[float, float]:
    """Return a small bound and one of three standard deviations; of counts, whole images."""
    rng = np.random.default_rng([SEED, 1])
    spread = float(ALL[name](rng, 4000, 1, 2, images).differences.std())
    if not is_counted(name):
        return spread / 2, 3 * spread
    small = max(1.0, round(spread / 2))
    return small, max(small + 1, round(3 * spread))


def is_false(differs: Array, equals: Array, means: Array) -> Array:
    """Return which studies reject a true hypothesis."""
    return (differs & (means == 0)).any(axis=1) | (equals & (means != 0)).any(axis=1)


@dataclass
class Cell:
    """One cell of a grid, and the share of its studies that err."""

    noise: str
    n: int
    images: int
    k: int
    truth: str
    bound: float
    error: float


def cells(numbers: tuple[int, ...], names: dict[str, Noise]) -> Iterator[tuple[str, int, int, int]]:
    """Yield noise, seeds, images and arms."""
    for name in names:
        for images in (20, 100, 1_000, 10_000) if is_counted(name) else (0,):
            for k in (1, 2, 4, 12):
                for n in numbers:
                    yield name, n, images, k


def fixed_grid(numbers: tuple[int, ...], names: dict[str, Noise] = ALL) -> Iterator[Cell]:
    """Yield every cell of a fixed number of seeds."""
    for number, (name, n, images, k) in enumerate(cells(numbers, names)):
        rng = np.random.default_rng([SEED, 2, n, number])
        for bound in bounds_of(name, images):
            for truth in ("null", "bound", "half") if k > 1 else ("null", "bound"):
                means = true_means(truth, k, bound)
                error = 0.0
                if n >= LEAST_PAIRS:
                    noise = names[name](rng, R, k, n, images)
                    pairs = shifted(noise, means, is_counted(name))
                    found = verdicts(fixed_tails(pairs), bound)
                    error = float(is_false(*found, means).mean())
                yield Cell(name, n, images, k, truth, bound, error)


def grid_table(found: list[Cell]) -> Iterator[str]:
    """Yield the worst cell of every noise and number of seeds, then every cell that fails."""
    numbers = sorted({cell.n for cell in found})
    yield "| noise | cells | fail | " + " | ".join(f"n = {n}" for n in numbers) + " |"
    yield "| --- " * (3 + len(numbers)) + "|"
    for name in dict.fromkeys(cell.noise for cell in found):
        mine = [cell for cell in found if cell.noise == name]
        worst = [max(c.error for c in mine if c.n == n) for n in numbers]
        failed = sum(cell.error > LIMIT for cell in mine)
        yield (
            f"| {name} | {len(mine)} | {failed} | "
            + " | ".join(f"{100 * w:.1f}" for w in worst)
            + " |"
        )
    failed_cells = [c for c in found if c.error > LIMIT and c.noise in GATED]
    yield f"\nLimit {100 * LIMIT:.2f} %; gated cells over it: {len(failed_cells)}."
    for c in failed_cells:
        yield f"- {c}"


# Power against Student's t with Holm's correction.


def power_table(studies: int = 12_000) -> Iterator[str]:
    """Yield the power of a difference per arm that has one, and its ratio to that of t and Holm."""
    yield "| n | arms | effect, SD | t and Holm, % | ratio: floor 0 | half | all of the variance |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for n in (8, 9, 10, 12, 20):
        for k, at_effect in ((1, 1), (2, 2), (2, 1)):
            for effect in (1.0, 1.5, 2.0):
                rng = np.random.default_rng([SEED, 3, n, k, at_effect, int(10 * effect)])
                values = rng.normal(size=(studies, k, n))
                values[:, :at_effect] += effect
                plain = 2 * special.stdtr(
                    n - 1, -np.abs(values.mean(-1)) / (values.std(-1, ddof=1) / np.sqrt(n))
                )
                base = _holm(plain)[:, :at_effect].mean()
                ratios = []
                for floor in (0.0, 0.5, 1.0):
                    pairs = Pairs(values, np.full_like(values, floor))
                    ratios.append(verdicts(fixed_tails(pairs), effect)[0][:, :at_effect].mean())
                told = " | ".join(f"{found / base:.3f}" for found in ratios)
                arms = f"{k}" if at_effect == k else f"{k}, one of them different"
                yield f"| {n} | {arms} | {effect:g} | {100 * base:.0f} | {told} |"


def _holm(p: Array) -> Array:
    """Return what Holm's test finds at 0.05."""
    order = np.sort(p, axis=1)
    k = p.shape[1]
    passed = np.logical_and.accumulate(order <= LEVEL / (k - np.arange(k)), axis=1)
    return p <= np.where(passed, order, -1.0).max(axis=1, keepdims=True)


# A first look, then one extension as advised.

_EFFECTS = np.geomspace(0.05, 20, 500)
MOST = 600


def needed_table(size: int, wanted: float) -> Array:
    """Return the pairs that a fixed test needs for each of `_EFFECTS`."""
    return np.array([fixed_size(e, size, wanted=wanted) or MOST for e in _EFFECTS])


def advised(first: Pairs, bound: float, size: int, table: Array) -> Array:
    """Return the seeds that the advice's upper end adds, for each arm, shape (R, K)."""
    n = first.n
    spread = np.maximum(moments(first)[1], 1e-9) * np.sqrt(n)
    confidence = 0.6 if n < 8 else 0.55
    effect = bound / (spread * spread_limit(n, confidence))
    place = np.clip(np.searchsorted(_EFFECTS, effect, side="right") - 1, 0, len(_EFFECTS) - 1)
    least = max(LEAST_EXTENSION, n // 2, LEAST_PAIRS - n)
    return np.minimum(MOST, np.maximum(least, table[place] - n))


@dataclass
class Course:
    """What became of studies: verdicts at the first look and in the end, and seeds in all."""

    differs: Array
    equals: Array
    first_decided: Array
    total: Array


def follow(
    draw: Callable[[int, int], Pairs], r: int, n: int, size: int, bound: float, table: Array
) -> Course:
    """Follow studies through a first look and the extension that it advises.

    Args:
        draw: Returns new pairs of so many studies and seeds.
        r: Studies.
        n: Seeds of the first look.
        size: Arms.
        bound: The smallest effect that matters.
        table: Of `needed_table`.
    """
    first = draw(r, n)
    differs, equals = verdicts(look_tails(first, None, n), bound)
    decided = differs | equals
    open_ = ~decided.all(axis=1)
    total = np.full(r, n)
    more = np.where(decided, 0, advised(first, bound, size, table)).max(axis=1)
    for count in np.unique(more[open_]):
        mine = np.flatnonzero(open_ & (more == count))
        part = Pairs(first.differences[mine], first.floors[mine])
        second = draw(len(mine), int(count))
        found = verdicts(look_tails(part, second, n), bound)
        differs[mine], equals[mine] = found
        total[mine] = n + count
    return Course(differs, equals, decided, total)


def looks_table(studies: int = R) -> Iterator[str]:
    """Yield how many studies are decided, and with how many seeds."""
    yield (
        "| n0 | arms | SD | true | decided at n0, % | in all, % | of those undecided at n0, %"
        " | median total | fixed design | ratio |"
    )
    yield "| --- " * 10 + "|"
    for n in (3, 5, 8, 12, 20):
        for k in (1, 2):
            table = needed_table(k, 0.85 if n < 8 else 0.8)
            for effect in (0.8, 1.2):
                known = fixed_size(effect, k)
                for truth in (effect, 0.0):
                    rng = np.random.default_rng([SEED, 4, n, k, int(10 * effect), int(truth > 0)])
                    yield _looks_row(rng, studies, n, k, effect, truth, table, known)


def _looks_row(  # noqa: PLR0913  # a cell of the table
    rng: np.random.Generator, studies: int, n: int, k: int, effect: float, truth: float,
    table: Array, known: int | None,
) -> str:  # fmt: skip
    def draw(r: int, seeds: int) -> Pairs:
        values = rng.normal(size=(r, k, seeds)) + truth
        return Pairs(values, np.zeros_like(values))

    course = follow(draw, studies, n, k, effect, table)
    right = course.differs[:, 0] if truth else course.equals[:, 0]
    at_first = right & course.first_decided[:, 0]
    undecided = ~course.first_decided[:, 0]
    after = right[undecided].mean() if undecided.any() else np.nan
    median = float(np.median(course.total))
    ratio = median / known if known else np.nan
    share = 100 * right.mean()
    most = 1.5 if n >= 8 else 2.5
    missed = " (missed)" if share < 78 else ""
    far = " (missed)" if ratio > most else ""
    return (
        f"| {n} | {k} | {effect:g} | {'effect' if truth else 'none'}"
        f" | {100 * at_first.mean():.0f} | {share:.1f}{missed} | {100 * after:.1f} | {median:.0f}"
        f" | {known} | {ratio:.2f}{far} |"
    )


def error_grid(names: dict[str, Noise] = GATED) -> Iterator[Cell]:
    """Yield the errors of the whole procedure on every noise."""
    for name in names:
        for images in (100, 1_000) if is_counted(name) else (0,):
            for n in (3, 5, 8, 12, 20):
                for k in (1, 2):
                    table = needed_table(k, 0.85 if n < 8 else 0.8)
                    for bound in bounds_of(name, images)[1:] if n < 8 else bounds_of(name, images):
                        for truth in ("null", "bound", "half") if k > 1 else ("null", "bound"):
                            yield _error_cell(name, n, images, k, truth, bound, table)


def _error_cell(
    name: str, n: int, images: int, k: int, truth: str, bound: float, table: Array
) -> Cell:
    number = [SEED, 5, n, k, images, len(truth), int(1000 * bound), list(ALL).index(name)]
    rng, means = np.random.default_rng(number), true_means(truth, k, bound)

    def draw(r: int, seeds: int) -> Pairs:
        return shifted(ALL[name](rng, r, k, seeds, images), means, is_counted(name))

    course = follow(draw, R, n, k, bound, np.minimum(table, 60))
    error = float(is_false(course.differs, course.equals, means).mean())
    return Cell(name, n, images, k, truth, bound, error)


def afterwards_table(most: int = 60) -> Iterator[str]:
    """Yield how often a declared look or two and then looks without end find a false difference."""
    yield "| declared | n0 | level afterwards 0.05, % | 0.01, % |\n| --- | --- | --- | --- |"
    for declared in ("fixed", "one extension"):
        for n in (6, 8, 12, 20):
            rng = np.random.default_rng([SEED, 6, n, len(declared)])
            values = rng.normal(size=(5 * R, 1, most))
            pairs = Pairs(values, np.zeros_like(values))
            first = pairs.part(slice(n))
            tails = fixed_tails(first)
            start = n
            if declared == "one extension":
                start = 2 * n
                tails = look_tails(first, pairs.part(slice(n, start)), n)
            early = verdicts(tails, 1e9)[0][:, 0]
            told = []
            for level in (0.05, 0.01):
                ever = early.copy()
                for m in range(start + 1, most + 1):
                    mean, error, _ = moments(pairs.part(slice(m)))
                    ever |= (np.abs(mean / error) > critical_t(m, effect=1.0, alpha=level))[:, 0]
                told.append(f"{100 * ever.mean():.1f}")
            yield f"| {declared} | {n} | {' | '.join(told)} |"


# The same verdicts by the product's own code.


def product_study(k: int, n: int, bound: float, metric: str, rule: str, extra: int) -> StudyInfo:
    """Return a study of k arms whose seeds from n on are its extension."""
    arms = ["base", *(f"arm{i}" for i in range(k))]
    seeds = tuple(range(n + extra))
    return StudyInfo(
        name="s", revision="r", question="", baseline="base", primary=metric, metrics=(metric,),
        arms=tuple(
            Arm(name=name, role="ablation", title="", action="", control_for=None, changes=())
            for name in arms
        ),
        seeds=seeds, smallest_effect=bound, family=tuple(arms[1:]), planned_at=0.0,
        rule="one extension" if rule == "one extension" else "fixed", added=seeds[n:],
        hypotheses=tuple(
            Hypothesis(arm=name, metric=metric, smallest_effect=bound) for name in arms[1:]
        ),
    )  # fmt: skip


def product_verdicts(values: Array, info: StudyInfo) -> tuple[Array, Array]:
    """Return which differences and equivalences the product finds in one study, shape (K,) each.

    Args:
        values: Differences, shape (K, S).
        info: The study.
    """
    metric = info.primary
    outcomes = {metric: {"base": dict.fromkeys(info.seeds, 0.0)}}
    for name, row in zip(info.family, values, strict=True):
        outcomes[metric][name] = dict(zip(info.seeds, row.tolist(), strict=True))
    rows = {row.arm: row for row in compare(info, outcomes)}
    found = [rows[name] for name in info.family]
    return (
        np.array([row.p_adjusted is not None and row.p_adjusted <= LEVEL for row in found]),
        np.array([row.verdict == "equivalent" for row in found]),
    )


def same_as_product(studies: int = 40) -> int:
    """Hold the rules here to the product's; return how many studies were compared."""
    rng = np.random.default_rng([SEED, 7])
    compared = 0
    for n, extra in ((6, 0), (8, 0), (12, 0), (20, 0), (3, 6), (8, 5)):
        rule = "one extension" if extra else "fixed"
        info = product_study(2, n, 1.0, "teacher.nll", rule, extra)
        values = rng.normal(0.6, 0.8, (studies, 2, n + extra))
        pairs = Pairs(values, np.zeros_like(values))
        tails = fixed_tails(pairs)
        if extra:
            tails = look_tails(pairs.part(slice(n)), pairs.part(slice(n, None)), n)
        differs, equals = verdicts(tails, 1.0)
        for study in range(studies):
            theirs = product_verdicts(values[study], info)
            assert (theirs[0] == differs[study]).all(), (n, extra, study)
            assert (theirs[1] == equals[study]).all(), (n, extra, study)
            compared += 1
    assert replace(info).looks == "two looks"
    return compared


def main(part: str) -> None:
    """Print one part of the report."""
    start = time.perf_counter()
    print(f"{same_as_product()} studies have the same verdicts by the product's own code.\n")
    if part == "fixed":
        lines = grid_table(list(fixed_grid((2, 3, 4, 5, 6, 8, 12, 20))))
    elif part == "power":
        lines = power_table()
    elif part == "looks":
        lines = looks_table()
    elif part == "error":
        lines = grid_table(list(error_grid()))
    elif part == "items":
        from item_simulation import item_table  # it takes its tools from here

        lines = item_table()
    elif part == "unpaired":
        from unpaired_simulation import unpaired_table

        lines = unpaired_table()
    else:
        lines = afterwards_table()
    for line in lines:
        print(line, flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s, {R:,} studies a cell, generator seed {SEED}.")


if __name__ == "__main__":
    main(sys.argv[1])
