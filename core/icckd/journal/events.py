"""The facts that journals hold.

An attempt journal tells what happened to one stage once; a session journal what one `icckd run`
planned, decided and was asked. Values that are not finite are written as words: "nan", "inf",
"-inf".
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter

from icckd.study.records import Arm, Count, Hypothesis, Rule, Stage, State, Trial

Cause = Literal[
    "killed",
    "preempted",
    "out-of-memory",
    "disk-full",
    "device",
    "non-finite",
    "machine",
    "study",
    "bug",
    "exit-code",
    "time-limit",
    "no-metric",
]

_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _number_from(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _number_as(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


Number = Annotated[
    float, BeforeValidator(_number_from), PlainSerializer(_number_as, return_type=float | str)
]


class Fact(BaseModel):
    """Base of all events. Unknown keys are kept out, so that newer journals stay readable."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class AttemptHeader(Fact):
    """First line of an attempt journal: which stage, where, with what.

    `ordinal` orders attempts by when they were ordered, whatever clocks said, and is the token by
    which they publish (`icckd.journal.fencing`). `files` are those of
    a task, or modules of plug-ins, by name with their digests.
    """

    k: Literal["h"] = "h"
    attempt: str
    session: str
    stage: str
    kind: str
    shape: str
    seed: Count
    replicate: Count
    epochs: Count
    settings: dict[str, Any]
    inputs: dict[str, str]
    fingerprint: str
    numerics: dict[str, Any]
    code_epoch: Count
    host: str
    boot: str
    pid: Count
    environment: dict[str, str]
    ordinal: Count = 0
    files: dict[str, str] = Field(default_factory=dict)
    pack: str = ""
    members: Count = 1


class Resumed(Fact):
    """The stage resumes from a checkpoint that another attempt made after `epoch` epochs.

    The series of these epochs follow, so that an attempt's journal tells the whole stage.
    `seconds` is what they took on the clock, in all attempts.
    """

    k: Literal["c"] = "c"
    attempt: str
    epoch: Count
    seconds: float


class EpochMetrics(Fact):
    """Series values at the end of an epoch, counted from 1."""

    k: Literal["m"] = "m"
    epoch: Count
    values: dict[str, Number]


class StageOutcomes(Fact):
    """Values of the stage as a whole.

    `right` says of each of `images` test images, in their order, whether the model was right: a bit
    each, the first image in the highest bit of the first byte, base64. Empty where it is not known.
    """

    k: Literal["o"] = "o"
    values: dict[str, Number]
    images: Count = 0
    right: str = ""


class ItemScores(Fact):
    """Scores of items, such as test questions, in columns of one order.

    Attributes:
        ids: What names each.
        groups: What each shares with others that err with it; empty where they have none.
        scores: By metric, the score of each.
    """

    k: Literal["i"] = "i"
    ids: list[str]
    groups: list[str] = Field(default_factory=list)
    scores: dict[str, list[float]]


ITEMS_A_LINE = 5_000


def item_lines(
    ids: Sequence[str], groups: Sequence[str], scores: Mapping[str, Sequence[float]]
) -> list[ItemScores]:
    """Return the events of some items, so many that a line stays short enough to be read."""
    return [
        ItemScores(
            ids=list(ids[start:end]),
            groups=list(groups[start:end]),
            scores={name: list(each[start:end]) for name, each in scores.items()},
        )
        for start in range(0, len(ids), ITEMS_A_LINE)
        for end in [start + ITEMS_A_LINE]
    ]


class LogLine(Fact):
    """One line for a reader."""

    k: Literal["l"] = "l"
    level: Literal["info", "warning", "error"] = "info"
    text: str


class ArtifactPublished(Fact):
    """The stage's files lie under its digest; `files` maps name to SHA-256."""

    k: Literal["a"] = "a"
    files: dict[str, str]
    bytes: Count


class Failure(Fact):
    """Why an attempt failed."""

    type: str
    message: str
    cause: Cause = "bug"
    hint: str = ""
    step: Count | None = None
    term: str | None = None
    traceback: str = ""


class AttemptClosed(Fact):
    """Last line of an attempt journal; `count` is the number of lines before it.

    An attempt is `superseded` when another one of its stage counts: nothing of it is read.
    """

    k: Literal["z"] = "z"
    state: Literal["complete", "failed", "cancelled", "superseded"]
    count: Count
    seconds: float
    failure: Failure | None = None


class SessionHeader(Fact):
    """First line of a session journal; `ordinal` counts the sessions of a state folder from 1.

    `accepted_source` has the changed source that the user took to give equal numbers: digests of
    modules by their names.
    """

    k: Literal["H"] = "H"
    session: str
    study: str
    revision: str
    arguments: list[str]
    host: str
    boot: str
    pid: Count
    version: str
    ordinal: Count = 0
    accepted_source: dict[str, str] = Field(default_factory=dict)


class Planned(Fact):
    """The resolved study and everything it takes; `rule` says how its verdicts are reached.

    `plugins` has what a helper told of the plug-ins of the study: see `icckd.study.plugins`.
    """

    k: Literal["p"] = "p"
    study: dict[str, Any]
    plugins: dict[str, Any] = Field(default_factory=dict)
    rule: Rule = ""
    hypotheses: tuple[Hypothesis, ...] = ()
    arms: tuple[Arm, ...]
    trials: tuple[Trial, ...]
    stages: tuple[Stage, ...]


class StageState(Fact):
    """The session's word on a stage; `cause` says why an attempt ended without a result."""

    k: Literal["s"] = "s"
    stage: str
    state: State
    attempt: str | None = None
    reason: str = ""
    cause: Cause | None = None


class RequestAnswered(Fact):
    """A request from `.icckd/requests/` and what became of it."""

    k: Literal["r"] = "r"
    request: str
    kind: str
    answer: str


class SessionClosed(Fact):
    """Last line of a session journal."""

    k: Literal["Z"] = "Z"
    exit_code: Count
    count: Count


Event = Annotated[
    AttemptHeader
    | Resumed
    | EpochMetrics
    | StageOutcomes
    | ItemScores
    | LogLine
    | ArtifactPublished
    | AttemptClosed
    | SessionHeader
    | Planned
    | StageState
    | RequestAnswered
    | SessionClosed,
    Field(discriminator="k"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))
