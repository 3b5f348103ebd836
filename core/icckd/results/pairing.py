"""Pairs: arm minus baseline under the same seed, which seeds have none, and the floor of each.

A seed that never reached its target has the value inf. A seed whose training met a NaN or infinite
loss diverged: on a primary metric it counts as the worst outcome there is. Neither is dropped,
which would favour the arm that fails. Seeds that were lost otherwise, or are still to come, are
unpaired, and named.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icckd.results.types import BySeed, Outcomes, StudyInfo
from icckd.stats.paired import FloatArray
from icckd.study.metrics import Metric

if TYPE_CHECKING:
    from icckd.results.store import Store

Hits = NDArray[np.bool_]
"""Of each test image whether a model was right, shape (images,)."""
Right = Mapping[str, Mapping[str, Mapping[int, tuple[Hits, ...]]]]
"""The hits of each model by kind of stage, arm and seed; students of one teacher in order."""
NONE_KNOWN: Right = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Arm minus baseline, seed by seed.

    Attributes:
        seeds: The seeds that both have.
        unpaired: Those that one of them has.
        differences: One entry a seed: infinite where one of the pair never reached its target or
            diverged, NaN where both did; shape (S,).
        baseline_mean: Mean of the baseline over pairs with a finite difference.
        never: Whether some never reached their target.
        floors: The least variance of each difference, in its unit squared, shape (S,); None where
            the metric is a count and it is not known of what.
        apart: Values of the arm and of the baseline where they share no seed.
    """

    seeds: tuple[int, ...]
    unpaired: tuple[int, ...]
    differences: FloatArray
    baseline_mean: float | None
    never: bool
    floors: FloatArray | None = None
    apart: tuple[FloatArray, FloatArray] | None = None

    @property
    def finite(self) -> FloatArray:
        """The differences of pairs in which both have a number."""
        return self.differences[np.isfinite(self.differences)]

    @property
    def is_complete(self) -> bool:
        """Whether every pair has a number."""
        return bool(np.isfinite(self.differences).all())


def diverged_seeds(outcomes: Outcomes, arm: str) -> frozenset[int]:
    """Return the seeds in which a stage of an arm met a NaN or infinite loss."""
    return frozenset(
        seed
        for metric, by_arm in outcomes.items()
        if metric.endswith(".nonfinite_steps")
        for seed, steps in by_arm.get(arm, {}).items()
        if steps > 0
    )


def pair(arm: BySeed, baseline: BySeed) -> Pairs:
    """Return the pairs, seeds ascending."""
    seeds = tuple(sorted(arm.keys() & baseline.keys()))
    theirs = np.array([baseline[seed] for seed in seeds], dtype=np.float64)
    mine = np.array([arm[seed] for seed in seeds], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        differences = mine - theirs
    finite = np.sort(theirs[np.isfinite(differences)])
    return Pairs(
        seeds=seeds,
        unpaired=tuple(sorted(arm.keys() ^ baseline.keys())),
        differences=differences,
        baseline_mean=float(finite.mean()) if finite.size else None,
        never=not np.isfinite(differences).all(),
        floors=np.zeros(len(seeds)),
        apart=None if seeds or not (arm and baseline) else (_values(arm), _values(baseline)),
    )


def _values(by_seed: BySeed) -> FloatArray:
    return np.array([by_seed[seed] for seed in sorted(by_seed)], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmValues:
    """An arm on one metric: its values by seed, and which of its seeds have none or diverged.

    Attributes:
        arm: What the arm is called where it is compared.
        info: The metric.
        by_seed: Its values; inf where a target was never reached.
        planned: The seeds that it was given.
        diverged: Seeds in which a stage met a NaN or infinite loss.
        right: By seed, for each model of it, which test images it was right about.
    """

    arm: str
    info: Metric
    by_seed: BySeed
    planned: tuple[int, ...]
    diverged: frozenset[int]
    right: Mapping[int, tuple[Hits, ...]] = field(default_factory=dict)

    def with_diverged_as_worst(self) -> BySeed:
        """Return the values with the worst there is for seeds that diverged without a value."""
        direction = self.info.direction
        if direction == "none":
            return self.by_seed
        worst = -math.inf if direction == "higher" else math.inf
        return {**dict.fromkeys(self.diverged, worst), **self.by_seed}


def arm_values(
    study: StudyInfo,
    outcomes: Outcomes,
    arm: str,
    metric: str,
    right: Right = NONE_KNOWN,
    diverged: frozenset[int] | None = None,
) -> ArmValues:
    """Return an arm of a study on a metric; `diverged` are its seeds that did, where known."""
    return ArmValues(
        arm=arm,
        info=study.metric(metric),
        by_seed=outcomes.get(metric, {}).get(arm, {}),
        planned=study.planned_seeds(arm),
        diverged=diverged_seeds(outcomes, arm) if diverged is None else diverged,
        right=right.get(metric.partition(".")[0], {}).get(arm, {}),
    )


def pair_arms(arm: ArmValues, baseline: ArmValues, *, counts_diverged: bool) -> Pairs:
    """Return the pairs of two arms.

    Args:
        arm: The arm.
        baseline: What it is compared with.
        counts_diverged: Whether seeds that diverged count as the worst outcome; else they are
            unpaired.
    """
    plain = pair(arm.by_seed, baseline.by_seed)
    if counts_diverged:
        whole = pair(arm.with_diverged_as_worst(), baseline.with_diverged_as_worst())
        plain = replace(whole, never=plain.never, apart=whole.apart)
    has_size = np.isfinite(plain.differences)  # others are ranked, whatever they are counts of
    floors = [
        _floor(arm, baseline, seed) if known else 0.0
        for seed, known in zip(plain.seeds, has_size.tolist(), strict=True)
    ]
    known = [floor for floor in floors if floor is not None]
    return replace(plain, floors=np.array(known) if len(known) == len(floors) else None)


# The least variance that a paired difference can have.
#
# An accuracy is a count over N test images. Where two models judge d of them differently, the
# variance of the difference of their counts is not taken for less than d + 1, however equal the
# differences of a few seeds happen to be. Where it is not known which images they judge
# differently, d is as large as their counts allow. A counted epoch is not known better than to one
# epoch.

_PERCENT = 100.0


def _floor(arm: ArmValues, baseline: ArmValues, seed: int) -> float | None:
    """Return the floor of a pair of numbers in the metric's unit squared; None if not known."""
    counts = arm.info.counts
    if counts == "":
        return 0.0
    if counts == "epochs":
        return 1.0
    if arm.info.images is not None and not (arm.right.get(seed) and baseline.right.get(seed)):
        return _declared_floor(arm, baseline, seed, arm.info.images)
    mine, theirs = arm.right.get(seed, ()), baseline.right.get(seed, ())
    if not mine or len(mine) != len(theirs):
        return None
    images = len(mine[0])
    if any(len(hits) != images for hits in (*mine, *theirs)):
        return None
    if arm.info.name.endswith(".top1") or (
        arm.info.images is not None
        and _is_share_of(mine, arm.by_seed[seed])
        and _is_share_of(theirs, baseline.by_seed[seed])
    ):
        discordant = [int((a != b).sum()) for a, b in zip(mine, theirs, strict=True)]
    else:
        most = _most_discordant(arm.by_seed[seed], baseline.by_seed[seed], images)
        discordant = [most] * len(mine)
    of_mean = sum(count + 1 for count in discordant) / len(mine) ** 2  # students are averaged
    return of_mean * (_PERCENT / images) ** 2


def _is_share_of(models: tuple[Hits, ...], value: float) -> bool:
    """Whether a value in percent is the share of the images that the only model was right about."""
    if len(models) != 1:
        return False
    return abs(_PERCENT * float(models[0].mean()) - value) < _PERCENT / len(models[0]) / 2


def _declared_floor(arm: ArmValues, baseline: ArmValues, seed: int, images: int) -> float:
    """Return the floor where only the number of test images is known."""
    most = _most_discordant(arm.by_seed[seed], baseline.by_seed[seed], images)
    return (most + 1) * (_PERCENT / images) ** 2


def _most_discordant(mine: float, theirs: float, images: int) -> int:
    """Return in how many images two shares in percent can differ at most."""
    right = (mine + theirs) / _PERCENT * images
    return math.ceil(min(right, 2 * images - right) - 1e-6)


# Reading hits.

_RIGHT = """
select need.kind, need.arm, need.seed, test_right.images, test_right.bits
from every_stage_of_trial as need
inner join test_right using (attempt)
where need.study = ? and need.revision = ? and need.state = 'complete'
order by need.kind, need.arm, need.seed, need.position
"""


def read_right(store: "Store", study: StudyInfo) -> Right:
    """Return which test images every complete stage was right about, where that is recorded."""
    found: dict[str, dict[str, dict[int, tuple[Hits, ...]]]] = {}
    for kind, arm, seed, images, bits in store.select(_RIGHT, list(study.key)):
        hits = _hits(images, bits)
        if hits is not None:
            by_seed = found.setdefault(kind, {}).setdefault(arm, {})
            by_seed[seed] = (*by_seed.get(seed, ()), hits)
    return found


def _hits(images: int, bits: str) -> Hits | None:
    """Return the hits that a journal tells; None where it makes no sense."""
    try:
        packed = np.frombuffer(base64.b64decode(bits, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError):
        return None
    if not 0 < images <= 8 * packed.size < images + 8:
        return None
    return np.unpackbits(packed, count=images).astype(bool)
