"""The facts that journals hold.

An attempt journal tells what happened to one stage once; a session journal what one `icckd run`
planned, decided and was asked. Values that are not finite are written as words: "nan", "inf",
"-inf".
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter

State = Literal["pending", "running", "complete", "failed", "blocked", "cancelled"]
Cause = Literal["killed", "preempted", "out-of-memory", "disk-full", "non-finite", "machine", "bug"]

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
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Fact(BaseModel):
    """Base of all events. Unknown keys are kept out, so that newer journals stay readable."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AttemptHeader(Fact):
    """First line of an attempt journal: which stage, where, with what.

    `ordinal` orders attempts by when they were ordered, whatever clocks said.
    """

    k: Literal["h"] = "h"
    attempt: str
    session: str
    stage: str
    kind: Literal["teacher", "student"]
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


class Resumed(Fact):
    """The stage goes on from a checkpoint that another attempt made after `epoch` epochs.

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
    """Values of the stage as a whole."""

    k: Literal["o"] = "o"
    values: dict[str, Number]


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
    """Last line of an attempt journal; `count` is the number of lines before it."""

    k: Literal["z"] = "z"
    state: Literal["complete", "failed", "cancelled"]
    count: Count
    seconds: float
    failure: Failure | None = None


class SessionHeader(Fact):
    """First line of a session journal; `ordinal` counts the sessions of a state folder from 1."""

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


class PlannedChange(Fact):
    """One setting in which an arm differs from the baseline."""

    path: str
    before: Any
    after: Any


class PlannedArm(Fact):
    """An arm as planned, in the study's order."""

    name: str
    role: Literal["baseline", "ablation", "control", "combination", "variant"]
    title: str
    action: str
    control_for: str | None
    metrics: list[str]
    changes: list[PlannedChange]


class PlannedStage(Fact):
    """A stage as planned: identity, size, inputs."""

    digest: str
    kind: Literal["teacher", "student"]
    shape: str
    seed: Count
    replicate: Count
    epochs: Count
    inputs: dict[str, str]


class PlannedTrial(Fact):
    """A trial and the digests of its stages: its teacher, then its students."""

    arm: str
    seed: Count
    stages: list[str]


class Planned(Fact):
    """The resolved study and everything it takes."""

    k: Literal["p"] = "p"
    study: dict[str, Any]
    arms: list[PlannedArm]
    trials: list[PlannedTrial]
    stages: list[PlannedStage]


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
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
