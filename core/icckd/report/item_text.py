"""What a report says of verdicts about items: their test, their reach, and which items changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from icckd.report.text import display
from icckd.results.types import About, Comparison, StudyInfo
from icckd.stats.fixed import FLIPS_UP_TO, LEAST_PAIRS
from icckd.stats.items import LEAST_GROUPS
from icckd.study.tasks import by_name

if TYPE_CHECKING:
    from icckd.results.items import ItemChange, ItemChanges
    from icckd.results.query import Results
    from icckd.study.model import Study

NAMED = 5
"""Items that a sentence names before it counts the rest."""


def counted(row: Comparison) -> str:
    """Return how many items in how many groups, under how many seeds, stand behind a row."""
    items = f"{row.items:,} item{'' if row.items == 1 else 's'}"
    if row.groups < row.items:
        items += f" in {row.groups:,} group{'' if row.groups == 1 else 's'}"
    return f"{items}, {'one seed' if row.pairs == 1 else f'{row.pairs} seeds'}"


def speaks(row: Comparison) -> str:
    """Return what a verdict rests on, and what it speaks about."""
    if row.about == "items":
        return f"{counted(row)}: speaks about items, not about other trainings"
    return f"{counted(row)}: speaks about items and other trainings"


def more_items_text(row: Comparison) -> str:
    """Return how many items in all should decide; "" if unknown."""
    if row.more_items is None:
        return ""
    alike = " in groups like these" if row.groups < row.items else " in all"
    return f"about {row.more_items:,} items{alike}"


def named(items: Sequence[str]) -> str:
    """Return some items by name, and how many more there are.

    >>> named(["q1", "q2"])
    'q1, q2'
    """
    told = ", ".join(display(item, 40) for item in items[:NAMED])
    return f"{told} and {len(items) - NAMED:,} more" if len(items) > NAMED else told


def not_yet(subject: str, row: Comparison) -> str:
    """Return why there cannot be an answer about items yet.

    Args:
        subject: What is not known, as the beginning of a sentence.
        row: The comparison.
    """
    if row.why == "other items":
        if not row.items_apart:
            return f"{subject} is not compared: some items are of other groups in other runs."
        return (
            f"{subject} is not compared: {row.items_apart:,} items were not seen by both under"
            ' every seed; a study of another name with items = "common" compares those that were.'
        )
    if row.why == "too few groups":
        what = "groups of items" if row.groups < row.items else "items"
        return (
            f"{subject} is not known for other items: {row.groups} {what} are too few, a verdict"
            f" about items takes {LEAST_GROUPS} at least."
        )
    if row.why == "diverged":
        return f"{subject} is not known over items: a run that diverged has none."
    if row.why == "looked before":
        return (
            f"{subject} is not known: seeds beyond the declared ones came after results had been"
            " seen, and there is no rule for items that may be looked at without end."
        )
    return (
        f"{subject} is not known for other trainings: {row.pairs} seed"
        f"{' is' if row.pairs == 1 else 's are'} too few, a verdict about seeds and items takes"
        f" {LEAST_PAIRS} at least (a study of another name with generalise_to ="
        ' ["items"] asks about items alone).'
    )


def short_why(row: Comparison) -> str:
    """Return the same for a cell of a table; "" where there may be a verdict."""
    return {
        "other items": "no verdict: the arms saw other items",
        "too few groups": f"too few {'groups' if row.groups < row.items else 'items'}",
        "diverged": "no verdict: a run diverged",
        "looked before": "no verdict: looked before",
    }.get(row.why, "")


# The rule.


def planned_about(study: Study) -> str:
    """Return what verdicts will speak about, before there are any; "" where items are not told.

    They are where a task has `[task.items]`, or the study says what to generalise to.
    """
    declared, seeds = study.study.generalise_to, study.study.seeds.count
    tasks = by_name(study.task).values()
    if "items" not in declared and not any(task.items is not None for task in tasks):
        return ""
    crosses = "seeds" in declared if declared else seeds > 1
    if declared == ("seeds",):
        return "items are taken as they are: verdicts speak about other trainings alone"
    if not crosses:
        return (
            "verdicts speak about items, by their own tests: not about other trainings, and what is"
            " said of seeds here is of metrics without items"
        )
    few = seeds < LEAST_PAIRS
    return "verdicts speak about seeds and items, both drawn anew" + (
        f": fewer than {LEAST_PAIRS} seeds give none"
        ' (study.generalise_to = ["items"] asks about items alone)'
        if few
        else ""
    )


def abouts(study: StudyInfo, rows: Sequence[Comparison]) -> set[About]:
    """Return what the primary questions speak about."""
    asked = {(each.arm, each.metric) for each in study.questions}
    return {row.about for row in rows if (row.arm, row.metric) in asked and row.pairs}


def interval_reach(found: set[About]) -> str:
    """Return what intervals speak about, where primary questions speak about these."""
    if found == {"items"}:
        return "the items, under the seeds that were run"
    return "what the seed decides, and the items" if found - {""} else "what the seed decides"


def rule_of_items(study: StudyInfo, rows: Sequence[Comparison]) -> Iterator[str]:
    """Say by which test primary questions about items are judged, and what that speaks about."""
    found = abouts(study, rows)
    tests = {row.test for row in rows if row.about}
    if found - {""}:
        yield (
            "Arms are paired item by item; errors are clustered by group where items have groups."
            " The variance is the cluster-robust CR2 with Satterthwaite's degrees of freedom; where"
            f" at most {FLIPS_UP_TO} groups differ, exact sign flips of groups have to agree."
            f" Fewer than {LEAST_GROUPS} groups give no verdict."
        )
    if "McNemar" in tests:
        yield (
            "Right-or-wrong items of one seed without groups are tested by McNemar's exact test."
        )
    if "items" in found:
        yield (
            "Verdicts about items take the seeds as they are: they speak about other items of this"
            " kind, not about other trainings."
        )
    if "seeds and items" in found:
        yield (
            "Verdicts about seeds and items take both as drawn anew, two crossed sources of"
            " variation: the variances over seeds and over groups are added. Fewer than"
            f" {LEAST_PAIRS} seeds give no verdict."
        )
        yield from _looks(study)


def _looks(study: StudyInfo) -> Iterator[str]:
    if study.looks == "first look":
        yield (
            "This is the first look at a study that declares one extension: it spends half of each"
            " level, and the other half is left for all seeds with the extension."
        )
    elif study.looks == "two looks":
        yield "The first seeds and all seeds with the extension were tested at half of each level."


def changed_afterwards(study: StudyInfo) -> Iterator[str]:
    """Say where the study file says something else than what was declared before any result."""
    header = study.resolved.get("study")
    header = header if isinstance(header, dict) else {}
    now = tuple(header.get("generalise_to") or ()), header.get("items") == "common"
    if now != (study.generalise_to, study.common_items):
        yield (
            "study.generalise_to or study.items was changed after results had been seen: verdicts"
            " keep what was declared before them. Another question is a study of another name."
        )


def left_out(rows: Sequence[Comparison]) -> Iterator[str]:
    """Say how many items were left out where only common ones are compared."""
    for row in rows:
        if row.items_apart and row.about and row.why != "other items":
            yield (
                f"{display(row.arm)} in {display(row.metric)}: {row.items_apart:,} items that not"
                f" every run has are left out, {row.items:,} are common to all."
            )


# The items that changed most.


def changes_title(found: ItemChanges) -> str:
    """Return how many items changed in an arm, as the title of their table."""
    total = found.higher + found.lower + found.same
    return (
        f"Items that changed most: {display(found.arm)} in {display(found.metric)}"
        f" ({found.lower:,} lower, {found.higher:,} higher, {found.same:,} of {total:,} the same)"
    )


def change_cells(change: ItemChange, *, has_groups: bool) -> tuple[str, ...]:
    """Return an item as cells: its name, its group, its scores and their difference."""
    group = (display(change.group, 30),) if has_groups else ()
    scores = (f"{change.baseline:.4g}", f"{change.arm:.4g}", f"{change.difference:+.4g}")
    return display(change.item, 40), *group, *scores


def primary_changes(results: Results, study: StudyInfo) -> Iterator[ItemChanges]:
    """Yield how items changed on the metrics of primary questions, arm by arm."""
    asked = [(each.arm, each.metric) for each in study.questions]
    for metric in dict.fromkeys(metric for _, metric in asked):
        for found in results.item_changes(study, metric):
            if (found.arm, metric) in asked:
                yield found


def apart_texts(results: Results, study: StudyInfo) -> Iterator[str]:
    """Name the items that not every run has, arm by arm: what is missing for a comparison."""
    for found in primary_changes(results, study):
        if found.apart:
            yield (
                f"{display(found.arm)} and {display(study.baseline)} did not see the same items"
                f" under every seed: {named(found.apart)}."
            )
        if found.regrouped:
            yield (
                f"{display(found.arm)} and {display(study.baseline)} have items in different"
                f" groups: {named(found.regrouped)}."
            )
