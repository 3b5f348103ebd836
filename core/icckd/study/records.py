"""The records of a study: arms, trials, stages.

The design and the plan make them; journals hold them as they are, and they are read as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from icckd.study.paths import Change

Role = Literal["baseline", "ablation", "control", "combination", "variant"]
EngineKind = Literal["teacher", "student"]
"""Stages that icckd's own engine trains; any other kind is the name of a task of the study."""
ENGINE_KINDS: tuple[EngineKind, ...] = ("teacher", "student")
"""In the order in which a trial needs them."""
State = Literal["pending", "running", "complete", "failed", "blocked", "cancelled"]
Device = Literal["cpu", "cuda"]
Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One level for every factor, under a name.

    Attributes:
        name: Unique within the study.
        role: What the arm is there for.
        title: One line for people.
        action: AblationBench's action, or "".
        control_for: The arm that a control belongs to.
        metrics: Outcomes that its ablation asks for.
        changes: How it differs from the baseline: settings, and the effective strength of the
            intra-class loss where its weight or temperature is among them.
        levels: Label of its level of each factor; empty for an arm that no factor made.
    """

    name: str
    role: Role
    title: str
    action: str
    control_for: str | None
    metrics: tuple[str, ...] = ()
    changes: tuple[Change, ...]
    levels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A primary question: does an arm differ from the baseline in a metric?

    `smallest_effect` is the smallest difference that matters, in the metric's unit.
    """

    arm: str
    metric: str
    smallest_effect: float | None = None


Rule = Literal["", "one extension", "fixed"]
"""How verdicts are reached: the rule before rules were journalled, or one that a plan states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An arm run under one seed; trials that share a seed are pairs.

    `stages` are the digests of its teacher, then of its students, then of its tasks; empty until it
    is planned.
    """

    arm: str
    seed: Count
    stages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One content-addressed job: identity, size, inputs.

    Stages of equal `shape` cost about the same. `inputs` are digests by the kind of stage.
    """

    digest: str
    kind: str
    shape: str
    seed: Count
    replicate: Count
    epochs: Count
    inputs: Mapping[str, str]
