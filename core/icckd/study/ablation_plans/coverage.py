"""Which ablations of plans a study answers: wholly, in part, or not.

An entry is answered by arms: by one that differs from the baseline in what an item puts in the
part's place, and in nothing else, or by the baseline, which has it already. What the study says
itself of a requested ablation counts; for others the words decide, as on import.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from icckd.study.ablation_plans.bind import Binder, Bound
from icckd.study.ablation_plans.edit import entry_of
from icckd.study.ablation_plans.items import item_text, typed_text
from icckd.study.ablation_plans.records import AblationPlan, PlanEntry
from icckd.study.arms import arms
from icckd.study.model import Requested, Study
from icckd.study.observed import visible

Answer = Literal["wholly", "in part", "not"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """How far a study answers one ablation of a plan.

    Attributes:
        source: The plan.
        name: The ablation.
        answer: How far.
        arms: The arms that answer it; the baseline where it has an item already.
        missing: What is not answered, each with why.
    """

    source: str
    name: str
    answer: Answer
    arms: tuple[str, ...]
    missing: tuple[str, ...] = ()


def coverage(study: Study, plans: Iterable[AblationPlan]) -> tuple[Covered, ...]:
    """Return how far a study answers each ablation of some plans, in their order.

    Raises:
        SpecError: The arms of the study cannot be made.
    """
    known = {arm.name for arm in arms(study)}
    told = {(each.name, each.part, each.action): each for each in study.requested}
    binder = Binder(study)
    return tuple(
        _covered(
            plan.source, entry, told.get((entry.name, entry.component, entry.action)), binder, known
        )
        for plan in plans
        for entry in plan.entries
    )


def _covered(
    source: str, entry: PlanEntry, told: Requested | None, binder: Binder, known: set[str]
) -> Covered:
    bound = binder.bind(entry)
    if told is not None and told.arm is not None and _same_items(told, entry):
        return _as_told(source, entry, told, bound, binder)
    if bound.is_open:
        reason = (told.reason if told is not None else "") or bound.reason
        return Covered(
            source=source,
            name=entry.name,
            answer="not",
            arms=(),
            missing=(visible(reason, 400),),
        )
    baseline = binder.study.study.baseline
    own = tuple(name for name in bound.arms or () if name in known)
    absent = _absent(bound, known)
    has_baseline = any(reason.startswith("the baseline") for _, reason in bound.left_out)
    has_baseline = has_baseline or (not bound.arms and bound.reason.startswith("the baseline"))
    unfit = [
        f"{visible(item_text(item), 60)}: {visible(reason, 300)}"
        for item, reason in bound.left_out
        if not reason.startswith(("the baseline", "it comes to the same"))
    ]
    answered = (*((baseline,) if has_baseline else ()), *own)
    missing = (*absent, *unfit, *_no_outcome(bound.unknown_metrics))
    return Covered(
        source=source,
        name=entry.name,
        answer=_answer(bool(own) or (has_baseline and not absent), missing),
        arms=answered,
        missing=missing,
    )


def _as_told(
    source: str, entry: PlanEntry, told: Requested, bound: Bound, binder: Binder
) -> Covered:
    """Return how far the arms answer that the study itself names for an entry."""
    baseline = binder.study.study.baseline
    from_baseline = [each for each in told.left_out if each.reason.startswith("the baseline")]
    others = [each for each in told.left_out if not each.reason.startswith(
        ("the baseline", "it comes to the same"))]  # fmt: skip
    says_baseline = bool(from_baseline) or told.reason.startswith("the baseline")
    missing = (
        *(f"{visible(str(each.item), 60)}: {visible(each.reason, 300)}" for each in others),
        *([visible(told.reason, 400)] if told.reason and not says_baseline else []),
        *_no_outcome(bound.unknown_metrics),
    )
    arms_ = (*((baseline,) if says_baseline else ()), *(told.arm or ()))
    return Covered(
        source=source,
        name=entry.name,
        answer=_answer(bool(arms_), missing),
        arms=arms_,
        missing=missing,
    )


def _same_items(told: Requested, entry: PlanEntry) -> bool:
    return typed_text(list(entry_of(told).items)) == typed_text(list(entry.items))


def _no_outcome(texts: Sequence[str]) -> list[str]:
    return [f"no outcome is called {visible(text, 80)!r}" for text in texts]


def _absent(bound: Bound, known: set[str]) -> list[str]:
    """Return what no arm of the study has, in one text."""
    if bound.entry.action == "REMOVE":
        return [] if known >= set(bound.arms or ()) else [f"no arm without {bound.path}"]
    out = {typed_text(item) for item, _ in bound.left_out}
    kept = [item for item in bound.entry.items if typed_text(item) not in out]
    pairs = zip(bound.arms or (), kept, strict=False)
    absent = [visible(item_text(item), 60) for name, item in pairs if name not in known]
    return [f"no arm with {bound.path} = {', '.join(absent)}"] if absent else []


def _answer(is_answered: bool, missing: Sequence[str]) -> Answer:
    if not is_answered:
        return "not"
    return "in part" if missing else "wholly"
