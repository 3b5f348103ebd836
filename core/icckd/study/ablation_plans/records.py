"""What an ablation plan asks for, as it was read."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

Action = Literal["REMOVE", "REPLACE", "ADD"]
ACTIONS: tuple[str, ...] = get_args(Action)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry:
    """One ablation that a plan asks for, in the plan's own words.

    Attributes:
        name: Unique in its plan.
        component: The part that is ablated, in words.
        action: What is done with it.
        items: What is put in its place; values as JSON has them, of the types that the plan gives.
        metrics: What is to be measured, in words.
        line: Where it begins in the file.
    """

    name: str
    component: str
    action: Action
    items: tuple[Any, ...] = ()
    metrics: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationPlan:
    """The entries of a plan in their order, which is that of importance.

    `source` is what the file calls itself, or its name; `notes` say what the reader made of it.
    """

    entries: tuple[PlanEntry, ...]
    source: str
    notes: tuple[str, ...] = ()
