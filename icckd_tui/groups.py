"""Trials grouped by a setting, an arm, a state or a seed: a line above those of each group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from icckd_tui.text import setting_text

if TYPE_CHECKING:
    from icckd.results.types import StudyInfo, TrialStatus
    from icckd.study.records import Arm

_FIELDS = {"arm": "the trials of each arm", "state": "by state", "seed": "pairs: trials of a seed"}


@dataclass(frozen=True, slots=True)
class Group:
    """A group of trials: the value that they share, how many are complete, and their means."""

    value: str
    count: int
    complete: int
    primary: float | None
    difference: float | None


def groupings(study: StudyInfo) -> dict[str, str]:
    """Return what trials can be grouped by, with a word about each."""
    factors = {name: "a factor of the design" for arm in study.arms for name in arm.levels}
    paths = {
        change.path: f"a setting; the baseline has {setting_text(change.before)}"
        for arm in study.arms
        for change in arm.changes
    }
    return {**_FIELDS, **factors, **paths}


def grouped(
    study: StudyInfo, rows: Sequence[TrialStatus], by: str
) -> list[tuple[Group, list[TrialStatus]]]:
    """Return the groups in the order in which their values first come, each with its trials."""
    values = {arm.name: _value(study, arm, by) for arm in study.arms}
    found: dict[str, list[TrialStatus]] = {}
    for row in rows:
        value = str(getattr(row, by)) if by in _FIELDS else values.get(row.arm, "")
        found.setdefault(value, []).append(row)
    return [(_group(value, members), members) for value, members in found.items()]


def _value(study: StudyInfo, arm: Arm, by: str) -> str:
    """Return the value that an arm has for a factor or a setting: its own, or the baseline's."""
    if by in arm.levels:
        return arm.levels[by]
    changes = {change.path: setting_text(change.after) for change in arm.changes}
    if by in changes:
        return changes[by]
    befores = (change for each in study.arms for change in each.changes if change.path == by)
    return next((setting_text(change.before) for change in befores), "as the baseline")


def _group(value: str, rows: Sequence[TrialStatus]) -> Group:
    return Group(
        value=value,
        count=len(rows),
        complete=sum(row.state == "complete" for row in rows),
        primary=_mean(row.primary for row in rows),
        difference=_mean(row.difference for row in rows),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
