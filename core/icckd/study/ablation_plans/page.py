"""An ablation plan as a page of AblationBench's site: Markdown below a heading in HTML.

    <h2 ...>Ablation Plan</h2>
    ### <name>
    - **Ablated Part**: <one line>
    - **Action**: REPLACE
    - **Replacement**:
      - <item>
    - **Metrics**: a, b, c

What stands above the heading is the planner's reasoning; nothing of it is an entry.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from icckd.errors import SpecError
from icckd.study.ablation_plans.items import read_literal
from icckd.study.ablation_plans.records import ACTIONS, Action, PlanEntry
from icckd.study.observed import visible

LONGEST_TEXT = 8_000
"""Letters of a name, a part, an item or the metrics."""
MOST_METRICS = 200
_HEADING = re.compile(r"<h([1-6])\b[^>]*>(.*?)</h\1>\s*|(#{1,2})\s+(.*)", re.IGNORECASE)
_FIELD = re.compile(r"- \*\*(Ablated Part|Action|Replacement|Metrics)\*\*:[ \t]?(.*)")
_ITEM = re.compile(r"[ \t]+-(?: (.*))?")
_END = re.compile(r"</div>\s*")
_PAGE = re.compile(r"#\s+(\S.*)")


@dataclass(frozen=True, slots=True)
class Page:
    """The entries of a page, what it calls itself or "", and what a user should know."""

    entries: tuple[PlanEntry, ...]
    source: str
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    """An entry while its lines are read; `fields` has the text and the line of each field."""

    name: str
    line: int
    fields: dict[str, tuple[str, int]] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)
    takes_items: bool = False


def page_entries(text: str, where: str) -> Page:
    """Return what a page asks for.

    Raises:
        SpecError: It has no plan heading or several, or a line below it is of no field; the message
            names the line.
    """
    lines = text.split("\n")
    first, end = _section(lines, where)
    drafts: list[_Draft] = []
    for number, line in enumerate(lines[first:end], start=first + 1):
        if len(line) > LONGEST_TEXT:
            _refuse(where, number, f"more than {LONGEST_TEXT} letters", "shorten it")
        if line.startswith("### "):
            drafts.append(_Draft(line[4:], number))
            if not visible(line[4:]):
                _refuse(where, number, "the ablation has no name", "write ### and a name")
        elif line.strip() and not _END.fullmatch(line):
            _take(drafts, line, number, where)
    entries = tuple(_entry(draft, where) for draft in drafts)
    return Page(entries=entries, source=_source(lines[:first]), notes=tuple(_odd_items(entries)))


def _section(lines: Sequence[str], where: str) -> tuple[int, int]:
    """Return the lines of the plan: from the one below its heading to the next heading.

    Headings of Markdown count only where none in HTML is that of a plan: a trace may have some.
    """
    found = [
        (number, each[2] if each[2] is not None else each[4], each[1] is not None)
        for number, line in enumerate(lines)
        if (line[:2] in ("<h", "<H") or line[:1] == "#") and (each := _HEADING.fullmatch(line))
    ]
    has_html = any(is_html and _is_plan(title) for _, title, is_html in found)
    headings = [(number, title) for number, title, is_html in found if is_html or not has_html]
    plans = [number for number, title in headings if _is_plan(title)]
    if not plans:
        raise SpecError(
            f"{where}, line {len(lines)}: the page ends without the heading 'Ablation Plan'",
            hint="an ablation plan is a page with that heading, JSON lines, JSON or YAML",
        )
    if len(plans) > 1:
        _refuse(
            where,
            plans[1] + 1,
            f"a second plan heading, the first is in line {plans[0] + 1}",
            "give each page as a file of its own",
        )
    after = (number for number, _ in headings if number > plans[0])
    return plans[0] + 1, next(after, len(lines))


def _is_plan(title: str) -> bool:
    """Whether a heading is that of a plan, whatever sign stands before its words."""
    words = re.findall(r"[A-Za-z]+", title)
    return [word.lower() for word in words[-2:]] == ["ablation", "plan"]


def _source(above: Sequence[str]) -> str:
    """Return what the page calls itself: its first heading of Markdown."""
    found = (_PAGE.fullmatch(line) for line in above if line.startswith("# "))
    return next((visible(each[1], 300) for each in found if each), "")


def _take(drafts: Sequence[_Draft], line: str, number: int, where: str) -> None:
    """Add a line to the entry that it is of."""
    if not drafts:
        _refuse(
            where, number, f"no ablation for {visible(line, 60)!r}", "begin with ### and a name"
        )
    draft = drafts[-1]
    if known := _FIELD.fullmatch(line):
        name, text = known.groups()
        if name in draft.fields:
            _refuse(where, number, f"{name} stands twice in one ablation", "keep one of the two")
        draft.fields[name] = text, number
        draft.takes_items = name == "Replacement"
        if draft.takes_items and text.strip():
            draft.items.append(read_literal(text))
        return
    item = _ITEM.fullmatch(line)
    if item is None or not draft.takes_items:
        _refuse(
            where,
            number,
            f"{visible(line, 60)!r} is no field of an ablation",
            "the fields are - **Ablated Part**:, **Action**:, **Replacement**:, **Metrics**:, each"
            " on one line, and items below Replacement",
        )
    draft.items.append(read_literal(item[1] or ""))


def _entry(draft: _Draft, where: str) -> PlanEntry:
    """Return a finished entry."""
    for name in ("Ablated Part", "Action"):
        text, line = draft.fields.get(name, ("", draft.line))
        if not visible(text):
            _refuse(
                where, line, f"the ablation {visible(draft.name, 60)!r} has no {name}",
                f"add - **{name}**: ...",
            )  # fmt: skip
    action, line = draft.fields["Action"]
    if action.strip().upper() not in ACTIONS:
        _refuse(
            where, line, f"no known action {visible(action, 40)!r}", f"one of {', '.join(ACTIONS)}"
        )
    metrics, line = draft.fields.get("Metrics", ("", draft.line))
    split = tuple(split_metrics(metrics))
    if len(split) > MOST_METRICS:
        _refuse(where, line, f"more than {MOST_METRICS} metrics", "name those that matter")
    return PlanEntry(
        name=draft.name,
        component=draft.fields["Ablated Part"][0],
        action=cast(Action, action.strip().upper()),
        items=tuple(draft.items),
        metrics=split,
        line=draft.line,
    )


def split_metrics(text: str) -> list[str]:
    """Return metrics that commas separate: commas outside of brackets, or all if these are odd.

    Brackets balance whatever their kind, as in the interval [0, 1).

    >>> split_metrics("accuracy, FID (5k, 10k)"), split_metrics("a (b, c")
    (['accuracy', 'FID (5k, 10k)'], ['a (b', 'c'])
    """
    parts, start, depth = [], 0, 0
    for place, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return _stripped(text.split(","))
        elif character == "," and not depth:
            parts.append(text[start:place])
            start = place + 1
    return _stripped(text.split(",") if depth else [*parts, text[start:]])


def _stripped(parts: Sequence[str]) -> list[str]:
    return [part.strip() for part in parts if part.strip()]


def _odd_items(entries: Sequence[PlanEntry]) -> Iterator[str]:
    """Yield what is read otherwise than its writer may have meant."""
    for entry in entries:
        for item in entry.items:
            is_group = isinstance(item, list) and len(item) > 1 and 0 in item[1:]
            if is_group and all(type(each) is int for each in item):
                yield (
                    f"{visible(entry.name, 60)!r} has the item {item}: a number is written without"
                    " commas, as 10000"
                )


def _refuse(where: str, line: int, what: str, hint: str) -> NoReturn:
    raise SpecError(f"{where}, line {line}: in the ablation plan, {what}", hint=hint)
