"""The reviewers' appendix: what came of each ablation that a plan asks for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from icckd.report import notes
from icckd.report.text import difference_cell, difference_unit, scale_of
from icckd.results.types import Comparison, StudyInfo
from icckd.study.ablation_plans.items import from_toml, item_text
from icckd.study.model import Requested
from icckd.study.requested import UNBOUND, read_requested


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswer:
    """What came of a requested ablation, or of one of its items.

    Attributes:
        name: The ablation, in the plan's words.
        source: The plan.
        action: What was to be done with the part.
        component: The part, in the plan's words.
        arm: The arm that answers; "" where none does.
        answer: The verdict, or what is known so far, or why it was not run.
        is_run: Whether an arm answers it.
    """

    name: str
    source: str
    action: str
    component: str
    arm: str
    answer: str
    is_run: bool


def answers_to(study: StudyInfo, comparisons: tuple[Comparison, ...]) -> Iterator[RequestAnswer]:
    """Yield what came of each requested ablation: a row an arm, and a row for what has none."""
    for asked in read_requested(study.resolved):
        common = {
            "name": asked.name,
            "source": asked.source,
            "action": asked.action,
            "component": asked.part,
        }
        for arm in asked.arm or ():
            answer = _answer(study, comparisons, arm)
            yield RequestAnswer(**common, arm=arm, answer=answer, is_run=True)
        for reason in _not_run(asked):
            yield RequestAnswer(**common, arm="", answer=reason, is_run=False)


def _not_run(asked: Requested) -> Iterator[str]:
    if asked.arm is None:
        yield f"not run, it was open: {asked.reason or UNBOUND}"
    elif asked.reason:
        yield f"not run: {asked.reason}"
    for each in asked.left_out:
        yield f"{item_text(from_toml(each.item))} was not run: {each.reason}"


def _answer(study: StudyInfo, comparisons: tuple[Comparison, ...], arm: str) -> str:
    """Return the verdicts on an arm, or its difference where it is not judged."""
    rows = [row for row in comparisons if row.arm == arm]
    asked = {each.metric for each in study.questions if each.arm == arm and arm in study.family}
    judged = [row for row in rows if row.metric in asked]
    shown = judged or [row for row in rows if row.metric == study.primary]
    texts = [text for row in shown if (text := _of_row(row, bool(judged)))]
    return "; ".join(texts) or "no result yet"


def _of_row(row: Comparison, is_judged: bool) -> str:
    scale = scale_of([row])
    difference = difference_cell(row, scale)
    verdict = f"{notes.verdict_text(row)}: " if is_judged else ""
    if not difference:
        return ""
    return f"{verdict}{row.metric} {difference}{difference_unit(scale.unit)}"


def as_records(found: Iterator[RequestAnswer]) -> list[Mapping[str, Any]]:
    """Return answers as JSON has them."""
    return [
        {
            "name": each.name,
            "source": each.source,
            "action": each.action,
            "part": each.component,
            "arm": each.arm or None,
            "answer": each.answer,
        }
        for each in found
    ]
