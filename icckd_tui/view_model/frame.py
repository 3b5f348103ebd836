"""Everything the screens show at one moment, and the news that carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from icckd_tui.display import display
from icckd_tui.view_model.host import Host

if TYPE_CHECKING:
    from icckd.results.queue import QueueRow, RequestRow
    from icckd.results.trial_series import TrialSeries
    from icckd.results.types import (
        AttemptRow,
        Comparison,
        Curve,
        LogRow,
        Progress,
        StudyInfo,
        Table,
        TrialRow,
    )

SMALLEST = (60, 16)  # terminal columns and rows below which nothing useful fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What screens want read beside the study: curves of series, one trial, the queue.

    `against` is the arm that others are compared with, "" the declared baseline.
    """

    metrics: tuple[str, ...] = ()
    trial: tuple[str, int] | None = None
    queue: bool = False
    against: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrialFacts:
    """All there is about one trial."""

    arm: str
    seed: int
    attempts: tuple[AttemptRow, ...]
    series: tuple[TrialSeries, ...]
    outcomes: Mapping[str, float]
    log: tuple[LogRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One consistent reading of a study.

    `wish` says what else was read: `curves`, `trial` and `queue` answer it, empty where not wanted.
    `views` tells what can be asked in SQL and what it is. Trials and comparisons are against the
    `reference`; `declared` holds the comparisons with the declared baseline.
    """

    study: StudyInfo
    progress: Progress
    trials: tuple[TrialRow, ...]
    comparisons: tuple[Comparison, ...]
    series: tuple[str, ...]
    log: tuple[LogRow, ...]
    declared: tuple[Comparison, ...] = ()
    wish: Wish = field(default_factory=Wish)
    curves: Mapping[str, tuple[Curve, ...]] = field(default_factory=dict)
    trial: TrialFacts | None = None
    queue: tuple[QueueRow, ...] = ()
    requests: tuple[RequestRow, ...] = ()
    views: tuple[tuple[str, str], ...] = ()

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        arms = [arm.name for arm in self.study.arms]
        return self.wish.against if self.wish.against in arms else self.study.baseline

    @property
    def is_declared(self) -> bool:
        """Whether that is the baseline that the study declares."""
        return self.reference == self.study.baseline


@dataclass(frozen=True, slots=True)
class Waiting:
    """There is nothing to read yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Reading failed; the feed tries again."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """The answer to the statement of this number, or why there is none; it took `seconds`.

    `cut` says that there were more rows than are kept.
    """

    number: int
    seconds: float
    table: Table | None
    cut: bool = False
    reason: str = ""


News = Frame | Waiting | Failed  # of a study
Brought = News | Host | Answered  # all that the feed brings


def drawable(curves: tuple[Curve, ...]) -> tuple[Curve, ...]:
    """Return curves in half the bytes: all but the mean is drawn, and only the mean read out."""
    return tuple(
        replace(
            curve,
            epochs_E=curve.epochs_E.astype("int32"),
            low_E=curve.low_E.astype("float32"),
            high_E=curve.high_E.astype("float32"),
            count_E=curve.count_E.astype("int32"),
            values_SE=curve.values_SE.astype("float32"),
        )
        for curve in curves
    )


def default_metrics(study: StudyInfo, series: tuple[str, ...]) -> tuple[str, ...]:
    """Return the series in the order in which charts take them.

    Validation accuracy of the stage that is judged comes first, then its training loss, then the
    same of the other stage, then the rest.
    """
    judged = study.primary.split(".", 1)[0]
    stages = [judged, *(s for s in ("student", "teacher") if s != judged)]
    first = [f"{stage}.{name}" for stage in stages for name in ("val_top1", "ce")]
    return tuple(dict.fromkeys(name for name in (*first, *series) if name in series))


def seconds_series(metric: str) -> str:
    """Return the series that says when the epochs of a metric's stage ended.

    >>> seconds_series("student.val_top1")
    'student.train_seconds'
    """
    return f"{metric.split('.', 1)[0]}.train_seconds"


def steps_of_epoch(study: StudyInfo, stage: str) -> int:
    """Return the steps of an epoch of a kind of stage, as the baseline has them; 0: not known.

    The last incomplete batch of an epoch is no step.
    """
    samples = study.resolved.get("data", {}).get("train")
    batch = study.resolved.get(stage, {}).get("training", {}).get("batch_size")
    known = isinstance(samples, int) and isinstance(batch, int) and batch > 0
    return samples // batch if known else 0


def arm_index(study: StudyInfo, arm: str) -> int:
    """Return the arm's place in the study, 0 for one the study does not have."""
    return next((i for i, row in enumerate(study.arms) if row.name == arm), 0)


def notice_of(news: News | None, frame: Frame | None, width: int, height: int) -> str:
    """Return why there is nothing to see, or nothing."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return f"This terminal is {width}x{height}; icckd needs {SMALLEST[0]}x{SMALLEST[1]}."
    if frame is not None:
        return ""
    if isinstance(news, Waiting):
        return f"Waiting: {display(news.reason)}.\n\nStart one with  icckd run STUDY.toml"
    return "Reading the study."
