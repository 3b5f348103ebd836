"""What a study is asked for, as AblationBench's planner writes it: one object of JSON a line."""

from collections.abc import Iterator, Sequence

from icckd.study.ablation_plans.edit import entry_of
from icckd.study.ablation_plans.items import json_text
from icckd.study.ablation_plans.records import PlanEntry
from icckd.study.model import Ablation, Requested


def plan_lines(requested: Sequence[Requested], ablations: Sequence[Ablation]) -> Iterator[str]:
    """Yield the lines of an ablation plan: what plans asked for, else the study's own ablations."""
    entries = [entry_of(each) for each in requested] or [_own(each) for each in ablations]
    for entry in entries:
        yield json_text(
            {
                "name": entry.name,
                "ablated_part": entry.component,
                "action": entry.action,
                "replacement": list(entry.items)
                if entry.items or entry.action != "REMOVE"
                else None,
                "metrics": list(entry.metrics),
            }
        )


def _own(ablation: Ablation) -> PlanEntry:
    """Return an ablation of a study as an entry; its part is named by the path of the setting."""
    return PlanEntry(
        name=ablation.name,
        component=ablation.part,
        action=ablation.action,
        items=ablation.replacement or (),
        metrics=(*ablation.primary, *ablation.metrics),
    )
