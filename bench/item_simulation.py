"""How often verdicts about items are wrong: the part `items` of `statistics_simulation.py`.

Whole studies of K arms on paired items in groups, under S crossed seeds, all drawn anew. The tests
are written here for many studies at once, and held to the product's own.

Shapes: R studies, K arms, S seeds, G groups.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import special
from statistics_simulation import LEVEL, LIMIT, SEED, Array, R, closed, flips_agree, is_false

from icckd.stats import items
from icckd.stats.family import Claims, closed_family
from icckd.stats.fixed import FLIP_LEVEL, FLIPS_UP_TO, LEAST_PAIRS

MOST = 20_000_000
"""Numbers of one batch of studies."""


@dataclass
class Drawn:
    """Sums of differences by group of many studies, shape (R, K, S, G).

    `step` is the range of scores, `is_right_or_wrong` whether they are 0 and 1, `changed` how many
    items differ, of shape (R, K), the mean over seeds; None where all do.
    """

    sums: Array
    sizes: Array
    step: float
    is_right_or_wrong: bool
    changed: Array | None = None

    @property
    def is_mcnemar(self) -> bool:
        """Whether McNemar's test is asked: right or wrong, one seed, no groups."""
        return self.is_right_or_wrong and self.sums.shape[2] == 1 and bool((self.sizes == 1).all())


# Noise. Whatever varies has mean 0 over groups and seeds; `shift` is the true mean.

Noise = Callable[[np.random.Generator, tuple[int, int, int], Array, Array], Drawn]


def continuous(seed: float, group: float, heavy: bool = False) -> Noise:
    """Return noise of scores: of seeds, of groups, of items, and of an item under a seed."""

    def draw(
        rng: np.random.Generator, shape: tuple[int, int, int], sizes: Array, shift: Array
    ) -> Drawn:
        def noise(*shape: int) -> Array:
            return rng.standard_t(3, shape) if heavy else rng.normal(size=shape)

        r, k, s = shape
        g = sizes.size
        of_group = noise(r, k, s, 1) * seed + noise(r, k, 1, g) * group + shift[:, None, None]
        of_items = np.sqrt(sizes) * (noise(r, k, 1, g) + noise(r, k, s, g))
        return Drawn(sizes * of_group + of_items, sizes, 6.0, False)

    return draw


def few_change(share: float) -> Noise:
    """Return noise of scores of which few change at all, the same ones under every seed."""

    def draw(
        rng: np.random.Generator, shape: tuple[int, int, int], sizes: Array, shift: Array
    ) -> Drawn:
        r, k, s = shape
        changed = rng.binomial(sizes.astype(int), share, (r, k, 1, sizes.size))
        values = changed * (shift / share)[:, None, None]
        values = values + np.sqrt(changed) * rng.normal(size=changed.shape)
        again = np.sqrt(changed) * rng.normal(size=(r, k, s, sizes.size)) / 2
        sums = values + again if s > 1 else values
        return Drawn(sums, sizes, 3.0, False, changed.sum(axis=(2, 3)).astype(float))

    return draw


def right_or_wrong(change: float, group: float, seed: float) -> Noise:
    """Return noise of right and wrong answers.

    An item changes with a probability `change`, half of that the same way under every seed. To
    which side is chance, with a probability that groups and seeds move by so much at most.
    """

    def draw(
        rng: np.random.Generator, shape: tuple[int, int, int], sizes: Array, shift: Array
    ) -> Drawn:
        r, k, s = shape
        g, n = sizes.size, sizes.astype(int)
        to_better = 0.5 + shift[:, None, None] / (2 * change)
        to_better = to_better + rng.uniform(-group, group, (r, k, 1, g))
        kept = rng.binomial(n, change / 2 if s > 1 else change, (r, k, 1, g))
        sums = 2 * rng.binomial(kept, to_better) - kept
        changed = kept.sum(axis=(2, 3)).astype(float)
        if s > 1:
            fresh = rng.binomial(np.broadcast_to(n - kept, (r, k, s, g)), _rest(change))
            moved = to_better + rng.uniform(-seed, seed, (r, k, s, 1))
            sums = sums + 2 * rng.binomial(fresh, moved) - fresh
            changed = changed + fresh.sum(axis=3).mean(axis=2)
        return Drawn(sums.astype(float), sizes, 1.0, True, changed)

    return draw


def _rest(change: float) -> float:
    """Return with which probability one of the other items changes: half of `change` in all."""
    return change / 2 / (1 - change / 2)


@dataclass(frozen=True)
class Kind:
    """A noise, and the bounds on the true mean that it is asked about.

    What seeds do is left out of verdicts that take them as they are: `noise` is told whether they
    are drawn anew.
    """

    noise: Callable[[bool], Noise]
    bounds: tuple[float, float]


KINDS = {
    "normal": Kind(lambda crosses: continuous(0.0, 0.0), (0.15, 1.0)),
    "normal, groups": Kind(lambda crosses: continuous(0.0, 0.7), (0.3, 1.5)),
    "normal, groups and seeds": Kind(lambda crosses: continuous(0.4 * crosses, 0.4), (0.3, 1.5)),
    "t3, groups and seeds": Kind(
        lambda crosses: continuous(0.4 * crosses, 0.4, heavy=True), (0.5, 2.5)
    ),
    "few change": Kind(lambda crosses: few_change(0.03), (0.01, 0.04)),
    "right or wrong": Kind(lambda crosses: right_or_wrong(0.4, 0.0, 0.0), (0.05, 0.16)),
    "right or wrong, groups and seeds": Kind(
        lambda crosses: right_or_wrong(0.4, 0.2, 0.1 * crosses), (0.05, 0.16)
    ),
    "few turn": Kind(lambda crosses: right_or_wrong(0.03, 0.0, 0.0), (0.005, 0.012)),
}


def sizes_of(count: int, groups: int, shape: str) -> Array:
    """Return how many items each group has: equal, falling as 1 / rank, or one with half of all."""
    if groups >= count:
        return np.ones(count)
    weights = {
        "equal": np.ones(groups),
        "falling": 1 / np.arange(1.0, groups + 1),
        "one large": np.r_[groups - 1.0, np.ones(groups - 1)],
    }[shape]
    sizes = np.maximum(1.0, np.floor(count * weights / weights.sum()))
    sizes[0] += count - sizes.sum()
    return sizes


# The tests, for many studies at once.


class Tests:
    """p values of studies, and which values the intervals hold; results have the shape (R, K)."""

    def __init__(self, drawn: Drawn, *, crosses: bool) -> None:
        self._drawn, self._crosses = drawn, crosses
        self._sums = drawn.sums.mean(axis=2)
        self._items = drawn.sizes.sum()
        self.mean = self._sums.sum(axis=-1) / self._items
        variance, self._freedom = self._moments()
        self._error = np.sqrt(variance)
        changed = np.abs(self._sums) > 1e-12
        squares = self._sums**2
        one_more = np.where(changed.any(axis=-1), squares.max(axis=-1), drawn.step**2)
        floor = np.sqrt(squares.sum(axis=-1) + one_more) / self._items
        self._floor = np.where(2 * changed.sum(axis=-1) < drawn.sizes.size, floor, 0.0)

    def _moments(self) -> tuple[Array, Array]:
        sizes, total = self._drawn.sizes, self._items
        shares = sizes / total
        residuals = self._sums - sizes * self.mean[..., None]
        variance = (residuals**2 / (1 - shares)).sum(axis=-1) / total**2
        square = (shares**2).sum()
        kept = (shares**2 * (1 - 2 * shares + square) / (1 - shares)).sum() / square
        variance = variance / min(1.0, kept)
        freedom = np.full(variance.shape, items.clustered_freedom(sizes))
        self._of_seeds = np.zeros_like(variance)
        if self._crosses:
            s = self._drawn.sums.shape[2]
            of_seeds = (self._drawn.sums.sum(axis=-1) / total).var(axis=2, ddof=1) / s
            self._of_seeds, both = of_seeds, variance + of_seeds
            with np.errstate(invalid="ignore", divide="ignore"):
                of_groups = variance**2 / np.maximum(1, freedom - 1)
                mixed = both**2 / (of_groups + of_seeds**2 / max(1, s - 2))
            freedom = np.where(both > 0, mixed, freedom)
            variance = both
        return variance, freedom

    def _outer(self) -> Array:
        """Return standard errors against values farther from 0 than the mean."""
        d = self._drawn.changed
        if d is None:
            return self._error
        of_groups = (self._error**2 - self._of_seeds) * (1 + 2 / np.sqrt(np.maximum(1, d)))
        wider = np.sqrt(of_groups + (self._drawn.step / self._items) ** 2 + self._of_seeds)
        return np.where(2 * d < self._items, wider, self._error)

    def tail(self, value: float, sign: int) -> Array:
        """Return the one-sided p of "at most a value"."""
        distance = sign * (self.mean - value)
        is_inner = (np.minimum(0, self.mean) <= value) & (value <= np.maximum(0, self.mean))
        error = np.where(is_inner, self._error, self._outer())
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(error > 0, distance / error, 0.0)
            by_spread = special.stdtr(self._freedom, -t)
            by_floor = special.ndtr(-np.where(self._floor > 0, distance / self._floor, np.inf))
        certain = np.where(distance > 0, 0.0, np.where(distance < 0, 1.0, 0.5))
        p = np.where(error > 0, by_spread, certain)
        return np.maximum(p, np.where(self._floor > 0, by_floor, 0.0))

    def _agree(self, value: float, sign: int, share: float, rows: Array) -> Array:
        """Return where the exact tests reject "at most a value" at a share of 0.05."""
        sums = self._sums[rows] - value * self._drawn.sizes
        found = np.ones(len(sums), dtype=bool)
        if sums.shape[-1] <= FLIPS_UP_TO:
            found &= flips_agree(sums, 0.0, sign, share)
        elif value == 0.0:
            few = (np.abs(sums) > 1e-12).sum(axis=-1) <= FLIPS_UP_TO
            order = np.argsort(-np.abs(sums[few]), axis=-1)[:, :FLIPS_UP_TO]
            largest = np.take_along_axis(sums[few], order, axis=-1)
            found[few] &= flips_agree(largest, 0.0, sign, share)
        s = self._drawn.sums.shape[2]
        if self._crosses and s <= FLIPS_UP_TO:
            of_seeds = self._drawn.sums[rows].sum(axis=-1) - value * self._items
            found &= flips_agree(of_seeds, 0.0, sign, share)
        return found

    def agreed(self, value: float, sign: int, sides: int) -> Array:
        """Return the p of one side, times the sides, and 1 where the exact tests do not agree."""
        p = np.minimum(1.0, sides * self.tail(value, sign))
        small = p <= FLIP_LEVEL
        if small.any():
            p[small] = np.where(self._agree(value, sign, 1 / sides, small), p[small], 1.0)
        return p

    def difference(self) -> Array:
        """Return p of "no difference"."""
        if not self._drawn.is_mcnemar:
            return np.minimum(self.agreed(0.0, 1, 2), self.agreed(0.0, -1, 2))
        sums = self._drawn.sums[:, :, 0]
        better, worse = (sums > 0).sum(axis=-1), (sums < 0).sum(axis=-1)
        exact = np.minimum(1, 2 * special.bdtr(np.minimum(better, worse), better + worse, 0.5))
        exact = np.where(better + worse > 0, exact, 1.0)
        plain = np.minimum(1, 2 * np.minimum(self.tail(0.0, 1), self.tail(0.0, -1)))
        return np.maximum(plain, exact)

    def equivalence(self, bound: float) -> Array:
        """Return p of "a difference of the bound at least"."""
        if self._drawn.is_mcnemar:
            sides = [self.tail(-bound, 1), self.tail(bound, -1)]
            for p, value, sign in zip(sides, (-bound, bound), (1, -1), strict=True):
                small = p <= FLIP_LEVEL
                if small.any():
                    p[small] = np.where(self._agree(value, sign, 1.0, small), p[small], 1.0)
            return np.maximum(*sides)
        return np.maximum(self.agreed(-bound, 1, 1), self.agreed(bound, -1, 1))

    def holds(self, value: float) -> Array:
        """Return whose 95 % interval holds a value."""
        quantile = special.stdtrit(self._freedom, 1 - LEVEL / 2)
        by_floor = special.ndtri(1 - LEVEL / 2) * self._floor
        inner = np.maximum(quantile * self._error, by_floor)
        outer = np.maximum(quantile * self._outer(), by_floor)
        mean, size = self.mean, np.abs(self.mean)
        near = np.where((size > inner) & (size > 0), size - inner, np.minimum(0, size - outer))
        near = np.where(self.difference() > LEVEL, np.minimum(near, 0), near)
        far = size + outer
        low, high = np.where(mean >= 0, near, -far), np.where(mean >= 0, far, -near)
        return (low - 1e-12 <= value) & (value <= high + 1e-12)


# Cells.


@dataclass
class Cell:
    """One cell: shares of studies with a false verdict, and of intervals that miss the truth."""

    about: str
    kind: str
    seeds: int
    items: int
    groups: int
    shape: str
    k: int
    truth: str
    bound: float
    error: float
    missed: float


GROUPS = {
    20: (3, 5, 6, 8, 12, 20),
    100: (3, 5, 6, 8, 12, 30, 100),
    1_000: (3, 5, 6, 8, 12, 30, 1_000),
}
UNEQUAL = ((100, 6), (100, 12), (1_000, 8), (1_000, 30))
"""Items and groups with which sizes are unequal, too."""
SEVERAL = ((20, 20), (100, 12), (1_000, 30))
"""Those with which a family of four arms is judged, too."""


def grid() -> list[Cell]:
    """Return every cell, drawn by as many processes as there are cores."""
    abouts = [("items", s) for s in (1, 3)] + [("seeds and items", s) for s in (1, 3, 6, 8, 12)]
    sizes = [
        (count, groups, shape, k)
        for count, numbers in GROUPS.items()
        for groups in numbers
        for shape in ("equal", "falling", "one large")
        for k in (1, 4)
        if (shape == "equal" or (count, groups) in UNEQUAL)
        and (k == 1 or (shape == "equal" and (count, groups) in SEVERAL))
    ]
    names = [
        (about, kind, seeds, count, groups, shape, k)
        for (about, seeds), (count, groups, shape, k), kind in itertools.product(
            abouts, sizes, KINDS
        )
    ]
    with ProcessPoolExecutor() as pool:
        found = pool.map(_cells, names, range(len(names)), chunksize=4)
        return [cell for cells in found for cell in cells]


def _cells(name: tuple[str, str, int, int, int, str, int], number: int) -> list[Cell]:
    """Return the cells of a noise and a size: no difference, and a small and a large one."""
    found: list[Cell] = []
    about, kind, seeds, count, groups, shape, k = name
    crosses = about != "items"
    small, large = KINDS[kind].bounds
    at_bound = "half" if k > 1 else "bound"
    for truth, bound in (("null", small), (at_bound, small), (at_bound, large)):
        if groups < items.LEAST_GROUPS or (crosses and seeds < LEAST_PAIRS):
            found.append(Cell(*name, truth, bound, 0.0, np.nan))
            continue
        differing = {"null": 0, "bound": k, "half": k // 2}[truth]
        means = np.where(np.arange(k) < differing, -bound, 0.0)
        rng = np.random.default_rng([SEED, 10, number, len(truth), int(1000 * bound)])
        sizes = sizes_of(count, groups, shape)
        wrong, missed = [], []
        batch = max(1, min(R, MOST // (k * seeds * groups)))
        for start in range(0, R, batch):
            shape_of = (min(batch, R - start), k, seeds)
            tests = Tests(KINDS[kind].noise(crosses)(rng, shape_of, sizes, means), crosses=crosses)
            told = closed(tests.difference(), tests.equivalence(bound), LEVEL)
            wrong.append(is_false(*told, means))
            missed.append(~tests.holds(float(means[0]))[:, 0])
        error, outside = float(np.concatenate(wrong).mean()), float(np.concatenate(missed).mean())
        found.append(Cell(*name, truth, bound, error, outside))
    return found


def item_table() -> Iterator[str]:
    """Yield the worst cells by noise, seeds and groups, then every cell that fails."""
    yield f"{same_as_product()} studies of items have the product's p values.\n"
    found = grid()
    abouts = list(dict.fromkeys((cell.about, cell.seeds) for cell in found))
    yield "| noise | cells | fail | " + " | ".join(f"{a}, S = {s}" for a, s in abouts) + " |"
    yield "| --- " * (3 + len(abouts)) + "|"
    for kind in KINDS:
        yield _row(kind, [c for c in found if c.kind == kind], abouts)
    groups = sorted({cell.groups for cell in found})
    yield "\nThe same by groups:\n"
    yield "| groups | cells | fail | " + " | ".join(f"{a}, S = {s}" for a, s in abouts) + " |"
    yield "| --- " * (3 + len(abouts)) + "|"
    for count in groups:
        yield _row(str(count), [c for c in found if c.groups == count], abouts)
    yield "\nIntervals of 95 % that miss the true difference, worst cell, percent:\n"
    yield "| noise | " + " | ".join(f"{a}, S = {s}" for a, s in abouts) + " |"
    yield "| --- " * (1 + len(abouts)) + "|"
    for kind in KINDS:
        yield _row(kind, [c for c in found if c.kind == kind], abouts, of="missed")
    failed = [cell for cell in found if cell.error > LIMIT]
    yield f"\n{len(found)} cells; limit {100 * LIMIT:.2f} %; cells over it: {len(failed)}."
    for cell in failed:
        yield f"- {cell}"
    missing = [cell for cell in found if cell.missed > LIMIT]
    yield f"\nCells whose intervals miss more often than that: {len(missing)}."
    for cell in sorted(missing, key=lambda each: -each.missed)[:40]:
        yield f"- {cell}"


def _row(name: str, mine: list[Cell], abouts: list[tuple[str, int]], *, of: str = "error") -> str:
    worst = []
    for about in abouts:
        values = [getattr(c, of) for c in mine if (c.about, c.seeds) == about]
        known = [value for value in values if not np.isnan(value)]
        worst.append(f"{100 * max(known):.1f}" if known else "-")
    counts = f"{len(mine)} | {sum(c.error > LIMIT for c in mine)} | " if of == "error" else ""
    return f"| {name} | {counts}" + " | ".join(worst) + " |"


def same_as_product(studies: int = 12) -> int:
    """Hold the tests here to the product's; return how many studies were compared."""
    compared = 0
    for kind, (seeds, groups, count), crosses in itertools.product(
        KINDS,
        ((1, 8, 100), (1, 30, 1_000), (1, 100, 100), (8, 12, 100), (6, 20, 20)),
        (False, True),
    ):
        if crosses and seeds < 2:
            continue
        rng = np.random.default_rng([SEED, 9, compared])
        sizes, bound = sizes_of(count, groups, "falling"), KINDS[kind].bounds[1]
        shift = np.array([0.0, -bound])
        drawn = KINDS[kind].noise(crosses)(rng, (studies, 2, seeds), sizes, shift)
        tests = Tests(drawn, crosses=crosses)
        mine = closed(tests.difference(), tests.equivalence(bound), LEVEL)
        for study in range(studies):
            claims = [_product(drawn, study, arm, crosses, bound) for arm in range(2)]
            judged = closed_family(claims, LEVEL)
            for arm, each in enumerate(judged):
                theirs = each.difference <= LEVEL, (each.equivalence or 0.0) <= LEVEL
                assert theirs == (mine[0][study, arm], mine[1][study, arm]), (kind, seeds, groups)
            compared += 1
    return compared


def _product(drawn: Drawn, study: int, arm: int, crosses: bool, bound: float) -> Claims:
    sums = drawn.sums[study, arm]
    changes = None
    if drawn.is_mcnemar:
        changes = items.Changes(better=int((sums > 0).sum()), worse=int((sums < 0).sum()))
    sample = items.ItemSample(
        sums_SG=sums,
        sizes_G=drawn.sizes,
        crosses_seeds=crosses,
        step=drawn.step,
        changes=changes,
        changed=None if drawn.changed is None else float(drawn.changed[study, arm]),
    )
    return Claims(
        difference=items.difference_ways(sample),
        equivalence=items.equivalence_ways(sample, bound),
    )
