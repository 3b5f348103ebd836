"""The values that reports and screens see; nothing else crosses this line.

Units: accuracy in percent, time in seconds, memory in bytes, loss in nats. Times of day are Unix
seconds. A metric that was never reached is `math.inf`, one that has no value is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from icckd.journal.events import State
from icckd.results.comparison import Comparison as Comparison
from icckd.results.comparison import Effect as Effect
from icckd.results.comparison import Verdict as Verdict

Role = Literal["baseline", "ablation", "control", "combination", "variant"]
SessionStatus = Literal["live", "ended", "interrupted", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One setting in which an arm differs from the baseline."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """An arm of the study, in the study's order; the baseline comes first."""

    name: str
    role: Role
    title: str
    action: str
    control_for: str | None
    changes: tuple[ChangeRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyInfo:
    """One revision of a study: its question, arms, seeds and outcome columns.

    Attributes:
        metrics: The outcomes for the table, the primary one first.
        smallest_effect: Smallest difference of the primary metric that matters, in its unit.
        family: Arms whose primary comparisons are corrected together.
        resolved: The whole study as planned, defaults included.
        sequential_effect: What the rule for repeated looks is made for (`study.sequential.effect`).
        always_sequential: Whether the study declared that rule for every report.
        added: Seeds that were planned after results of others had been seen.
        left_out: Seeds with results in earlier sessions that the newest one did not plan.
        stopped: Arms that were given no more seeds, with how many each was given.
    """

    name: str
    revision: str
    question: str
    baseline: str
    primary: str
    metrics: tuple[str, ...]
    arms: tuple[ArmRow, ...]
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

    def against(self, arm: str) -> "StudyInfo":
        """Return the study with another arm in the baseline's place, and no family.

        Nothing is judged then: verdicts are about parts of the declared baseline.
        """
        return self if arm == self.baseline else replace(self, baseline=arm, family=())

    @property
    def is_sequential(self) -> bool:
        """Whether comparisons must stand up to looking before the last seed."""
        return self.always_sequential or bool(self.added)

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
    waits for a request to go on, `stalled` why it cannot go on just now, or "".
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
class TrialRow:
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
    NaN where fewer than two seeds do. `seeds` holds each seed's own values, NaN where missing.
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
class LogRow:
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
class Table:
    """The answer to a question in SQL: column names and rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
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
