"""The values that reports and screens see.

Units: accuracy in percent, time in seconds, memory in bytes, loss in nats. Times of day are Unix
seconds. A metric that was never reached is `math.inf`, one that has no value is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from icckd.study.metrics import OUTCOMES, Metric, metric_named
from icckd.study.records import ENGINE_KINDS, Arm, Hypothesis, Rule, State

if TYPE_CHECKING:  # `icckd status` asks for none of these, and they take long to import
    import numpy as np
    from numpy.typing import NDArray

    from icckd.study.observed import Observed
    from icckd.study.plugins import Plugins

LEVEL = 0.05
LEVEL_AFTERWARDS = 0.01
ITEMS_SHOWN = 10
"""How many items that changed most are shown of each arm."""

Verdict = Literal["", "helps", "hurts", "equivalent", "undecided"]
Test = Literal[
    "",
    "t",
    "worst-rank",
    "sequential",
    "sequential sign",
    "first look",
    "two looks",
    "first look, worst-rank",
    "two looks, worst-rank",
    "welch",
    "items",
    "seeds and items",
    "McNemar",
]
Why = Literal[
    "",
    "too few seeds",
    "seeds to come",
    "no test images",
    "no common seeds",
    "too few groups",
    "other items",
    "diverged",
    "looked before",
]
"""Why there cannot be a verdict yet, whatever the values."""
About = Literal["", "items", "seeds and items"]
"""What a verdict speaks about: "" for seeds alone, as in studies without items."""
Looks = Literal["once", "first look", "two looks", "always"]


BySeed = Mapping[int, float]
Outcomes = Mapping[str, Mapping[str, BySeed]]
"""Values by metric, arm and seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An arm on one metric, against the baseline over paired seeds.

    Attributes:
        n: Seeds with a value in the arm (the trained teacher is the unit; students of one
            teacher are averaged first).
        never: How many of them never reached the target (value inf).
        missing: Planned seeds without a value in this arm: failed, or still to come.
        mean, spread: Mean and standard deviation over seeds; None when `never` > 0 or n is
            too small.
        median: Median over seeds, defined also with never-reached ones (may be inf).
        pairs: Paired seeds behind the difference.
        difference, low, high: Mean of arm minus baseline, its 95 % interval (of Student's t, or of
            the confidence sequence where `test` is sequential); None for the baseline, with fewer
            than two pairs, or when a pair never reached the target. The interval alone is None
            while a confidence sequence has too few pairs.
        p, p_adjusted: Of `test`, two-sided, and Holm-adjusted within the study's family (primary
            metric only).
        verdict: About the *part*, for arms of the family on the primary metric.
        test: What p comes from: paired t test, exact sign flips of the signed worst ranks where a
            seed never reached its target or diverged, or their counterparts for interim analyses.
        unpaired: Seeds that have a value in one of arm and baseline only.
        diverged: Planned seeds whose training in the arm met a NaN or infinite loss.
        baseline_mean: Mean of the baseline over the pairs behind the difference.
        difference_spread: Standard deviation of the paired differences.
        effect_size: d_z with Hedges' correction.
        p_exact, p_exact_smallest: Exact sign-flip p as a check, the smallest that so many pairs
            allow; judged arms only, and not with interim analyses.
        p_equivalence: Of two one-sided tests against the smallest effect; judged arms only.
        bootstrap_low, bootstrap_high: 95 % BCa bootstrap interval, judged arms from ten pairs on.
        more_seeds: For "undecided": how many more seeds would decide, by smallest effect and
            an upper limit of the spread; None where that cannot be said.
        more_seeds_least: The same at the spread seen; None where the rule gives one number.
        level: Level of the test that the interval belongs to, which so excludes 0 exactly when
            that test finds a difference; None where the rule gives every interval 95 %.
        p_equivalence_adjusted: The equivalence p adjusted within the family.
        smallest_effect: Of judged arms: the smallest difference that matters.
        why: Why there cannot be a verdict yet.
        to_come: Planned seeds of this comparison that are still to come.
        about: What p, interval and verdict speak about.
        items, groups: Paired items behind them, and their groups; of items without groups each is
            one. 0 where they are not about items.
        items_apart: Items that not every run has: left out where the study says so, else the
            reason why there is no verdict.
        item_error: Standard error of the difference over items.
        more_items: For "undecided" about items: how many items in all, in groups like these, should
            decide about the smallest effect; None where that cannot be said.
    """

    arm: str
    metric: str
    unit: str
    n: int
    never: int
    missing: tuple[int, ...]
    mean: float | None
    spread: float | None
    median: float | None
    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    verdict: Verdict
    test: Test = ""
    unpaired: tuple[int, ...] = ()
    diverged: tuple[int, ...] = ()
    baseline_mean: float | None = None
    difference_spread: float | None = None
    effect_size: float | None = None
    p_exact: float | None = None
    p_exact_smallest: float | None = None
    p_equivalence: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    more_seeds: int | None = None
    more_seeds_least: int | None = None
    level: float | None = None
    p_equivalence_adjusted: float | None = None
    smallest_effect: float | None = None
    why: Why = ""
    to_come: int = 0
    about: About = ""
    items: int = 0
    groups: int = 0
    items_apart: int = 0
    item_error: float | None = None
    more_items: int | None = None

    @property
    def is_unpaired(self) -> bool:
        """Whether arm and baseline share no seed, so that the difference is that of two means."""
        return self.test == "welch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A main effect or two-way interaction of a factorial design, on the primary metric.

    Attributes:
        factors: Names of the one or two factors.
        levels: The level of each that is set against its reference.
        n: Seeds in which every combination of levels has a finite value.
        mean, low, high: Mean over seeds in the metric's unit and its 95 % interval; an interaction
            is a difference of differences.
        p, p_adjusted: Two-sided, and Holm-adjusted over all effects shown.
    """

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    n: int
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None

    @property
    def name(self) -> str:
        """Factors and levels in one word."""
        pairs = zip(self.factors, self.levels, strict=True)
        return " x ".join(f"{factor}={level}" for factor, level in pairs)


SessionStatus = Literal["live", "ended", "interrupted", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyInfo:
    """One revision of a study: its question, arms, seeds and outcome columns.

    Attributes:
        metrics: The outcomes for the table, the primary one first.
        smallest_effect: Smallest difference of the primary metric that matters, in its unit.
        family: Arms whose primary comparisons are corrected together.
        resolved: The whole study as planned, defaults included.
        sequential_effect: What the rule for interim analyses is made for
            (`study.sequential.effect`).
        always_sequential: Whether the study declared that rule for every report.
        added: Seeds that were planned after results of others had been seen.
        left_out: Seeds with results in earlier sessions that the newest one did not plan.
        stopped: Arms that were given no more seeds, with how many each was given.
        is_newest: Whether no other revision of the study was planned later.
        trials, complete: How many trials it planned, and how many of them are complete.
        is_complete: Whether all of them are complete, or diverged, and one at least is complete.
        rule: How verdicts are reached; "" for studies journalled before rules were.
        hypotheses: The primary questions, one family; empty for such studies, whose family has one
            on the primary metric for each arm.
        always_declared: Whether that rule for every report was declared before the first result.
        added_later: Those of `added` that came after results of other added ones had been seen.
        declared: What its tasks record, by name; empty for a study without tasks.
        kinds: Kinds of the stages of a trial, in the order in which it needs them.
        told_of_plugins: What the journal tells of its plug-ins, as JSON; see `plugins`.
        observed: Where its runs were read; None for a study whose runs icckd starts.
        generalise_to: What verdicts speak about, as declared before the first result; empty: what
            varies.
        common_items: Whether arms are compared over the items that all their runs share.
    """

    name: str
    revision: str
    question: str
    baseline: str
    primary: str
    metrics: tuple[str, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    smallest_effect: float | None
    family: tuple[str, ...]
    planned_at: float
    resolved: Mapping[str, Any] = field(default_factory=dict)
    sequential_effect: float = 1.0
    always_sequential: bool = False
    added: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    stopped: Mapping[str, int] = field(default_factory=dict)
    is_newest: bool = True
    trials: int = 0
    complete: int = 0
    is_complete: bool = False
    rule: Rule = ""
    hypotheses: tuple[Hypothesis, ...] = ()
    added_later: tuple[int, ...] = ()
    always_declared: bool = True
    declared: Mapping[str, Metric] = field(default_factory=dict)
    kinds: tuple[str, ...] = ENGINE_KINDS
    told_of_plugins: str = ""
    observed: Observed | None = None
    generalise_to: tuple[str, ...] = ()
    common_items: bool = False

    @property
    def plugins(self) -> Plugins:
        """Its plug-ins, as the journal tells them."""
        from icckd.study.plugins import read_told

        return read_told(self.told_of_plugins)

    @property
    def has_tasks(self) -> bool:
        """Whether its stages run code of the user."""
        return any(kind not in ENGINE_KINDS for kind in self.kinds)

    @property
    def key(self) -> tuple[str, str]:
        """Name and revision: what its rows are found by."""
        return self.name, self.revision

    def against(self, arm: str) -> StudyInfo:
        """Return the study with another arm in the baseline's place, and no family.

        Nothing is judged then: verdicts are about parts of the declared baseline.
        """
        if arm == self.baseline:
            return self
        return replace(self, baseline=arm, family=(), hypotheses=())

    @property
    def looks(self) -> Looks:
        """How often results may be looked at: what decides intervals, p values and verdicts."""
        if self.always_sequential:
            return "always"
        if self.rule == "one extension" and not self.added_later:
            return "two looks" if self.added else "first look"
        return "always" if self.added else "once"

    @property
    def is_sequential(self) -> bool:
        """Whether comparisons must stand up to looking as often as one likes."""
        return self.looks == "always"

    @property
    def level(self) -> float:
        """Chance of any false verdict that is left.

        Looking as often as one likes after a report that had a level of its own gets the little
        that keeps both together at 0.05 (docs/statistics.md).
        """
        is_later = self.is_sequential and not (self.always_sequential and self.always_declared)
        return LEVEL_AFTERWARDS if self.rule and is_later else LEVEL

    @property
    def questions(self) -> tuple[Hypothesis, ...]:
        """The primary questions: pairs of an arm and a metric."""
        if self.rule:
            return self.hypotheses
        bound = self.smallest_effect
        return tuple(
            Hypothesis(arm=arm, metric=self.primary, smallest_effect=bound) for arm in self.family
        )

    def metric(self, name: str) -> Metric:
        """Return what is known of an outcome or a series of this study."""
        return self.declared.get(name) or metric_named(name)

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Return names of outcomes in the catalogue's order, unknown ones last."""
        places = {name: place for place, name in enumerate([*self.declared, *OUTCOMES])}
        return sorted(names, key=lambda name: (places.get(name, len(places)), name))

    def convergence_target(self, kind: str) -> float:
        """Return the validation accuracy, in percent, at which a stage of a kind has converged."""
        header = self.resolved.get("study")
        targets = header.get("convergence") if isinstance(header, Mapping) else None
        target = targets.get(kind) if isinstance(targets, Mapping) else None
        return float(target) if isinstance(target, (int, float)) else 90.0

    def planned_seeds(self, arm: str) -> tuple[int, ...]:
        """Return the seeds that an arm is given."""
        return self.seeds[: self.stopped.get(arm, len(self.seeds))]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCounts:
    """How many are in each state."""

    pending: int = 0
    running: int = 0
    complete: int = 0
    failed: int = 0
    blocked: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return (
            self.pending + self.running + self.complete
            + self.failed + self.blocked + self.cancelled
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a study stands.

    `eta_seconds` is None while nothing allows an estimate, and 0 when nothing is left;
    `newest` is the time of the newest journal line of this study; `paused` says that its session
    waits for a request to resume, `stalled` why it cannot continue just now, or "".
    """

    trials: StateCounts
    stages: StateCounts
    session: SessionStatus
    started: float | None
    newest: float | None
    eta_seconds: float | None
    workers: int
    paused: bool = False
    stalled: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStatus:
    """One arm under one seed.

    `stage` is the kind that runs, failed, or ran last ("" before the first); `epoch` of `epochs`
    belong to it. `attempts` counts the attempts at all its stages, `seconds` is the time of those
    that stand for them. `primary` is the primary outcome when the trial is complete, `difference`
    the same minus that of the baseline trial with this seed.
    """

    arm: str
    seed: int
    state: State
    stage: str
    epoch: int
    epochs: int
    attempts: int
    seconds: float
    primary: float | None
    difference: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A series of one arm over epochs: mean over seeds and its 95 % t interval.

    Arrays have one entry per epoch at which at least one seed has a value; `low` and `high` are
    NaN where fewer than two seeds do. `values_SE` holds each seed's own values, NaN where missing.
    Values are computed in double and held in single precision, for drawing: a monitor holds many.
    """

    arm: str
    metric: str
    epochs_E: NDArray[np.integer]  # noqa: N815
    mean_E: NDArray[np.floating]  # noqa: N815
    low_E: NDArray[np.floating]  # noqa: N815
    high_E: NDArray[np.floating]  # noqa: N815
    count_E: NDArray[np.integer]  # noqa: N815
    seeds: tuple[int, ...]
    values_SE: NDArray[np.floating]  # noqa: N815
    planned_epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of a stage's or the session's log; `arm` is "" for the session."""

    time: float
    level: Literal["info", "warning", "error"]
    arm: str
    seed: int | None
    stage: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What earlier stages of one shape took; medians over complete attempts."""

    seconds: float
    memory_bytes: float | None
    disk_bytes: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the stages that a session completed took.

    Attributes:
        stages: How many.
        seconds: From its start to its end, with all workers.
        memory_bytes: The largest peak of a worker; None where none was measured.
        disk_bytes: Of their artifacts.
    """

    stages: int
    seconds: float
    memory_bytes: float | None
    disk_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The answer to a question in SQL: column names and rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a stage of a trial; `stage` is the digest, `seconds` what it took so far.

    `cause` is the kind of its end when that was without a result, such as `killed`, else "".
    """

    attempt: str
    stage: str
    kind: str
    replicate: int
    state: State
    epoch: int
    epochs: int
    started: float
    seconds: float
    reason: str
    host: str
    environment: dict[str, str]
    numerics: dict[str, Any]
    settings: dict[str, Any]
    hint: str
    traceback: str
    cause: str


def mark_of(study: StudyInfo) -> str:
    """Return what is said of a study wherever it shows: "" of real data that icckd trained on."""
    if study.observed is not None:
        return "imported runs"
    return "synthetic data" if on_synthetic_data(study) else ""


def on_synthetic_data(study: StudyInfo) -> bool:
    """Whether an arm of the study trains on synthetic data."""
    replaced = [c.after for arm in study.arms for c in arm.changes if c.path == "data"]
    tables = [study.resolved.get("data"), *replaced]
    return any(isinstance(table, dict) and table.get("kind") == "synthetic" for table in tables)
