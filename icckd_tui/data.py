"""What the feed reads for the screens: a frame of the study, samples, answers, failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from icckd_tui.filter import EVERYTHING, Filter
from icckd_tui.host import Host

if TYPE_CHECKING:
    from icckd.results.query import Results
    from icckd.results.trials import AnsweredRequest, StageStatus
    from icckd.results.types import (
        Comparison,
        Curve,
        LogEntry,
        Progress,
        StudyInfo,
        Table,
        TrialStatus,
    )


T = TypeVar("T")
Answer = TypeVar("Answer", covariant=True)


class Query(Protocol[Answer]):
    """Something that a screen has read with the study: a frozen dataclass, compared by value."""

    def read(self, results: Results, study: StudyInfo) -> Answer:
        """Return the answer; called in the thread of the feed."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """What the screen in front needs beside the study itself.

    Attributes:
        metrics: The series whose curves are drawn; the two most useful ones where empty.
        queries: What else screens have read.
        queue: Whether to read the queue of stages.
        against: The arm that others are compared with, "" for the declared baseline.
        filter: Which trials are shown.
    """

    metrics: tuple[str, ...] = ()
    queries: tuple[Query[Any], ...] = ()
    queue: bool = False
    against: str = ""
    filter: Filter = EVERYTHING


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One consistent reading of a study.

    Attributes:
        trials: Its trials, with differences from the `reference`.
        comparisons: Arms by outcome, compared with the `reference`.
        declared: Arms by outcome, compared with the declared baseline.
        request: What was asked for beside the study.
        matching: The trials that `request.filter` lets through; None without a filter.
        filter_error: Why that filter could not be evaluated.
        curves: The curves of `request.metrics`.
        answers: The answers to `request.queries`; see `answer`.
        queue: The stages in the plan's order, where `request.queue`.
        requests: What sessions were asked and answered.
        views: The names of the SQL views and what each holds.
        is_packed: Whether stages were trained in packs, so that trials have no time of their own.
    """

    study: StudyInfo
    progress: Progress
    trials: tuple[TrialStatus, ...]
    comparisons: tuple[Comparison, ...]
    series: tuple[str, ...]
    log: tuple[LogEntry, ...]
    declared: tuple[Comparison, ...] = ()
    request: DataRequest = field(default_factory=DataRequest)
    matching: tuple[TrialStatus, ...] | None = None
    filter_error: str = ""
    curves: Mapping[str, tuple[Curve, ...]] = field(default_factory=dict)
    answers: Mapping[Query[Any], Any] = field(default_factory=dict)
    queue: tuple[StageStatus, ...] = ()
    requests: tuple[AnsweredRequest, ...] = ()
    views: tuple[tuple[str, str], ...] = ()
    is_packed: bool = False

    def answer(self, query: Query[T]) -> T | None:
        """Return the answer to a query, None where it was not asked for."""
        found: T | None = self.answers.get(query)
        return found

    @property
    def shown_trials(self) -> tuple[TrialStatus, ...]:
        """The trials that the filter lets through."""
        return self.trials if self.matching is None else self.matching

    @property
    def matching_arms(self) -> frozenset[str]:
        """The arms of those trials; empty without a filter."""
        return frozenset(row.arm for row in self.matching or ())

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        arms = [arm.name for arm in self.study.arms]
        return self.request.against if self.request.against in arms else self.study.baseline

    @property
    def is_declared(self) -> bool:
        """Whether the reference is the baseline that the study declares."""
        return self.reference == self.study.baseline


@dataclass(frozen=True, slots=True)
class Waiting:
    """There is no study to read yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Reading failed; the feed tries again."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class SqlAnswer:
    """The answer to one SQL statement.

    Attributes:
        number: The statement's number.
        seconds: How long it took.
        table: The rows, None where the statement failed.
        is_cut: Whether there were more rows than are kept.
        reason: Why the statement failed.
    """

    number: int
    seconds: float
    table: Table | None
    is_cut: bool = False
    reason: str = ""


StudyUpdate = Frame | Waiting | Failed
Update = StudyUpdate | Host | SqlAnswer


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
    """Return the steps of an epoch in a kind of stage of the baseline, 0 where it is not known.

    An incomplete last batch is dropped.
    """
    samples = study.resolved.get("data", {}).get("train")
    batch = study.resolved.get(stage, {}).get("training", {}).get("batch_size")
    known = isinstance(samples, int) and isinstance(batch, int) and batch > 0
    return samples // batch if known else 0


def arm_index(study: StudyInfo, arm: str) -> int:
    """Return the arm's place in the study, 0 for one the study does not have."""
    return next((i for i, row in enumerate(study.arms) if row.name == arm), 0)
