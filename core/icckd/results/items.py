"""Items of two arms as pairs: read from the store, matched by name, judged by the rule for items.

A run may tell the score of every single test case (`run.item`, a file of items, an imported table
with `--item`). Two arms are then paired by item as well as by seed, and a verdict speaks about what
`[study] generalise_to` says: other seeds, other items, or both. The arithmetic is in
`icckd.stats.items`; what is said of seeds alone stays in `rules`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from icckd.results.rules import Evidence
from icckd.results.types import ITEMS_SHOWN, About, StudyInfo, Test, Why
from icckd.stats import items as item_tests
from icckd.stats.fixed import LEAST_PAIRS, Ways
from icckd.stats.items import LEAST_GROUPS, Changes, ItemSample
from icckd.stats.paired import FloatArray
from icckd.stats.two_stage import FIRST_SHARE

if TYPE_CHECKING:
    from icckd.results.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRun:
    """The items of one run, in the order of their ids, each once.

    Runs of the same items share the tuples.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    scores_I: FloatArray  # noqa: N815


ItemRuns = Mapping[str, Mapping[str, Mapping[int, ItemRun]]]
"""By metric, arm and seed."""
NO_ITEMS: ItemRuns = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class ItemPairs:
    """Items that two arms have both seen, under each seed that both have.

    Attributes:
        seeds: The seeds, ascending.
        ids: The items that all their runs share.
        groups: Their groups; empty where they have none.
        mine_SI, theirs_SI: Scores of arm and baseline.
        apart: Items that some of the runs have and some lack.
        regrouped: Items of another group in another run.
        top: Of right-or-wrong scores, what right counts; else 0.
    """

    seeds: tuple[int, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    mine_SI: FloatArray  # noqa: N815
    theirs_SI: FloatArray  # noqa: N815
    apart: tuple[str, ...] = ()
    regrouped: tuple[str, ...] = ()
    top: float = 0.0

    @cached_property
    def differences_SI(self) -> FloatArray:  # noqa: N802
        """Arm minus baseline."""
        return self.mine_SI - self.theirs_SI

    @cached_property
    def codes_I(self) -> np.ndarray:  # noqa: N802
        """The number of the group that each item is of, counted from 0."""
        if not self.groups:
            return np.arange(len(self.ids))
        return np.unique(np.array(self.groups, dtype=object).astype(str), return_inverse=True)[1]

    @cached_property
    def group_count(self) -> int:
        """How many groups there are; of items without, each is one."""
        return int(self.codes_I.max(initial=-1)) + 1

    def sample(self, places: list[int], *, crosses_seeds: bool) -> ItemSample:
        """Return the sums by group under some of the seeds.

        Args:
            places: Where they stand in `seeds`.
            crosses_seeds: Whether seeds are drawn anew, too.
        """
        chosen = self.differences_SI[places]
        sums = np.array([np.bincount(self.codes_I, row, self.group_count) for row in chosen])
        both = np.concatenate([self.mine_SI[places], self.theirs_SI[places]])
        changes = None
        if self.top and len(places) == 1 and self.group_count == len(self.ids):
            changes = Changes(better=int((chosen > 0).sum()), worse=int((chosen < 0).sum()))
        return ItemSample(
            sums_SG=sums,
            sizes_G=np.bincount(self.codes_I).astype(np.float64),
            crosses_seeds=crosses_seeds,
            step=float(np.ptp(both)),
            changed=float((chosen != 0).sum(axis=1).mean()),
            changes=changes,
        )

    def floors(self) -> Mapping[int, float]:
        """Return, by seed, the least variance of a difference of right-or-wrong scores."""
        if not self.top:
            return {}
        turned = (self.differences_SI != 0).sum(axis=1)
        unit = (self.top / len(self.ids)) ** 2
        return {s: (int(d) + 1) * unit for s, d in zip(self.seeds, turned, strict=True)}


def pair_items(
    runs: Mapping[str, Mapping[int, ItemRun]], arm: str, baseline: str, *, unit: str = "1"
) -> ItemPairs | None:
    """Return the items of two arms as pairs; None where one of them has none under a common seed.

    Args:
        runs: The runs by arm and seed, on one metric.
        arm: The arm.
        baseline: What it is compared with.
        unit: The metric's unit: right counts 100 in percent.
    """
    mine, theirs = runs.get(arm, {}), runs.get(baseline, {})
    seeds = tuple(sorted(mine.keys() & theirs.keys()))
    if not seeds:
        return None
    all_runs = [side[seed] for side in (mine, theirs) for seed in seeds]
    first = all_runs[0]
    apart: _Texts = ()
    regrouped: _Texts = ()
    if all(run.ids is first.ids and run.groups is first.groups for run in all_runs):
        ids, groups = first.ids, first.groups
        scores = np.array([run.scores_I for run in all_runs])
    else:
        ids, groups, apart, regrouped = _shared(all_runs)
        scores = np.array([_of(run, ids) for run in all_runs])
    top = 100.0 if unit == "%" else 1.0
    is_binary = bool(np.isin(scores, (0.0, top)).all())
    return ItemPairs(
        seeds=seeds,
        ids=ids,
        groups=groups,
        mine_SI=scores[: len(seeds)],
        theirs_SI=scores[len(seeds) :],
        apart=apart,
        regrouped=regrouped,
        top=top if is_binary and scores.size else 0.0,
    )


_Texts = tuple[str, ...]


def _shared(runs: list[ItemRun]) -> tuple[_Texts, _Texts, _Texts, _Texts]:
    """Return the items that all runs have with their groups, the others, and the regrouped."""
    first = runs[0]
    known = [set(run.ids) for run in runs]
    common = set.intersection(*known)
    ids = tuple(sorted(common))
    apart = tuple(sorted(set.union(*known) - common))
    tables = [dict(zip(run.ids, run.groups, strict=False)) for run in runs]
    regrouped = tuple(i for i in ids if len({table.get(i) for table in tables}) > 1)
    groups = tuple(tables[0][i] for i in ids) if first.groups and not regrouped else ()
    return ids, groups, apart, regrouped


def _of(run: ItemRun, ids: _Texts) -> FloatArray:
    places = {item: place for place, item in enumerate(run.ids)}
    return run.scores_I[[places[item] for item in ids]]


# Reading them.

_RUNS = """
select distinct item_scores.metric, need.arm, need.seed, need.attempt
from every_stage_of_trial as need
inner join item_scores using (attempt)
where need.study = ? and need.revision = ? and need.state = 'complete'
order by all
"""
_COLUMNS = """
select items, item_groups, scores
from item_scores
where attempt = ? and metric = ?
order by items[1]
"""


def read_items(store: "Store", study: StudyInfo) -> ItemRuns:
    """Return the items of every complete run of a study; runs that make no sense are left out."""
    found: dict[str, dict[str, dict[int, ItemRun]]] = {}
    texts: dict[_Texts, _Texts] = {}
    runs: dict[tuple[str, str], ItemRun | None] = {}
    for metric, arm, seed, attempt in store.select(_RUNS, list(study.key)):
        if (attempt, metric) not in runs:  # arms that share a stage share its items
            runs[attempt, metric] = _run(store.select(_COLUMNS, [attempt, metric]), texts)
        run = runs[attempt, metric]
        if run is not None:
            found.setdefault(metric, {}).setdefault(arm, {})[seed] = run
    return found


def _run(
    rows: list[tuple[list[str], list[str], list[float]]], texts: dict[_Texts, _Texts]
) -> ItemRun | None:
    ids = [item for items, _, _ in rows for item in items]
    groups = [group for _, named, _ in rows for group in named]
    scores = np.array([score for *_, each in rows for score in each], dtype=np.float64)
    is_sound = len(set(ids)) == len(ids) == scores.size and len(groups) in (0, len(ids))
    if not is_sound or not np.isfinite(scores).all():
        return None
    order = sorted(range(len(ids)), key=ids.__getitem__)
    named = tuple(ids[place] for place in order)
    grouped = tuple(groups[place] for place in order) if groups else ()
    return ItemRun(
        ids=texts.setdefault(named, named),
        groups=texts.setdefault(grouped, grouped),
        scores_I=scores[order],
    )


# What they say.


def about_of(study: StudyInfo, items: int) -> About:
    """Return what verdicts on a metric with so many items speak about; "" for seeds alone.

    By default that is what varies: seeds where the study has several, items where there are
    several.
    """
    speaks = study.generalise_to or tuple(
        name for name, count in (("seeds", len(study.seeds)), ("items", items)) if count > 1
    )
    if "items" not in speaks or not items:
        return ""
    return "seeds and items" if "seeds" in speaks else "items"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemEvidence:
    """What items say.

    Attributes:
        evidence: What p, interval and verdict come from.
        sample: What is shown; None where there is no difference to show.
        places: Where the seeds behind it stand among those of the pairs.
    """

    evidence: Evidence
    sample: ItemSample | None
    places: tuple[int, ...]


def item_evidence(
    study: StudyInfo,
    found: ItemPairs,
    about: About,
    *,
    to_come: Collection[int] = (),
    diverged: bool = False,
) -> ItemEvidence:
    """Return what paired items say by the rule of a study.

    Of verdicts about items the seeds are no sample: those that were added after results had been
    seen do not count. Of those about seeds and items, the looks are as the study declares them:
    the first seeds may spend half of a level, all seeds with the extension the other half.

    Args:
        study: Its looks decide the rule, its seeds which look each pair is of.
        found: The items.
        about: What is asked.
        to_come: Seeds of the comparison that are planned and have neither ended nor failed.
        diverged: Whether a run of the comparison diverged, and so has no items.
    """
    crosses = about == "seeds and items"
    first = [place for place, seed in enumerate(found.seeds) if seed not in study.added]
    every = list(range(len(found.seeds)))
    used = every if crosses else first or every
    waiting = [seed for seed in to_come if crosses or seed not in study.added]
    test: Test = "seeds and items" if crosses else "items"
    why = _why_not(study, found, crosses=crosses, seeds=len(used), diverged=diverged)
    can_be_shown = found.group_count > 1 and why not in ("other items", "diverged")
    sample = None
    if can_be_shown and (not crosses or len(used) > 1):
        sample = found.sample(used, crosses_seeds=crosses)
    elif can_be_shown:
        sample = found.sample(used, crosses_seeds=False)  # a difference, and no test of it
    if waiting:
        why = "seeds to come"
    if why or sample is None:
        evidence = Evidence(test="", why=why or "too few groups", to_come=len(waiting))
        return ItemEvidence(evidence=evidence, sample=sample, places=tuple(used))
    if sample.changes is not None:
        test = "McNemar"
    looks = list(_looks(study, found, first, every)) if crosses else [(1.0, sample)]
    evidence = Evidence(
        test=test,
        difference=tuple(_spent(item_tests.difference_ways(s), share) for share, s in looks),
        equivalence=lambda bound: tuple(
            _spent(item_tests.equivalence_ways(s, bound), share) for share, s in looks
        ),
        interval=lambda level: _interval(looks, level),
        spent=looks[-1][0],
    )
    return ItemEvidence(evidence=evidence, sample=sample, places=tuple(used))


def _why_not(
    study: StudyInfo, found: ItemPairs, *, crosses: bool, seeds: int, diverged: bool
) -> Why:
    if diverged:
        return "diverged"
    if found.regrouped or (found.apart and not study.common_items) or not found.ids:
        return "other items"
    if study.looks == "always" and (crosses or study.always_sequential):
        return "looked before"
    if crosses and seeds < LEAST_PAIRS:
        return "too few seeds"
    return "too few groups" if found.group_count < LEAST_GROUPS else ""


def _looks(
    study: StudyInfo, found: ItemPairs, first: list[int], every: list[int]
) -> Iterator[tuple[float, ItemSample]]:
    """Yield the share of a level and the sample of each look; all seeds come last."""
    if study.looks == "once":
        yield 1.0, found.sample(every, crosses_seeds=True)
        return
    share = FIRST_SHARE if len(first) >= LEAST_PAIRS else 0.0
    if share:
        yield share, found.sample(first, crosses_seeds=True)
    if study.looks == "two looks":
        yield 1.0 - share, found.sample(every, crosses_seeds=True)


def _spent(ways: Ways, share: float) -> tuple[float, float]:
    """Return the only way of a look, at the level of the whole."""
    p, exact = ways[0]
    return min(1.0, p / share), exact


def _interval(looks: list[tuple[float, ItemSample]], level: float) -> tuple[float, float]:
    """Return the values that no look rejects."""
    ends = [item_tests.interval(sample, share * level) for share, sample in looks]
    low, high = max(low for low, _ in ends), min(high for _, high in ends)
    return (low, high) if low <= high else ((low + high) / 2, (low + high) / 2)


# The items that changed most.


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemChange:
    """An item with its scores, means over the seeds that both arms have."""

    item: str
    group: str
    baseline: float
    arm: float

    @property
    def difference(self) -> float:
        """Arm minus baseline."""
        return self.arm - self.baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemChanges:
    """How the items of an arm changed on a metric.

    Attributes:
        higher, lower, same: How many items scored higher, lower, the same as in the baseline.
        most: Those that changed most, the largest change first.
        apart: Items that not all runs have.
        regrouped: Items of another group in another run.
    """

    arm: str
    metric: str
    higher: int
    lower: int
    same: int
    most: tuple[ItemChange, ...]
    apart: tuple[str, ...]
    regrouped: tuple[str, ...]


def changes_of(arm: str, metric: str, found: ItemPairs, *, most: int = ITEMS_SHOWN) -> ItemChanges:
    """Return how items changed, and those that changed most; equal changes by their names."""
    mine, theirs = found.mine_SI.mean(axis=0), found.theirs_SI.mean(axis=0)
    change = np.round(mine - theirs, 12)
    order = np.argsort(-np.abs(change), kind="stable")[:most]
    return ItemChanges(
        arm=arm,
        metric=metric,
        higher=int((change > 0).sum()),
        lower=int((change < 0).sum()),
        same=int((change == 0).sum()),
        most=tuple(
            ItemChange(
                item=found.ids[place],
                group=found.groups[place] if found.groups else "",
                baseline=float(theirs[place]),
                arm=float(mine[place]),
            )
            for place in order.tolist()
            if change[place]
        ),
        apart=found.apart,
        regrouped=found.regrouped,
    )
