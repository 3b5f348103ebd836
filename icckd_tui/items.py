"""The items that changed most, as the compare screen shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd_tui.data import Frame, arm_index
from icckd_tui.tables import Row, Table, fitted
from icckd_tui.text import Span, arm_letter, arm_tone, display
from icckd_tui.theme import Glyphs

if TYPE_CHECKING:
    from icckd.results.items import ItemChange, ItemChanges
    from icckd.results.query import Results
    from icckd.results.types import StudyInfo

_MOST = 100  # of each arm


@dataclass(frozen=True, slots=True)
class ItemsQuery:
    """Asks how the items of judged arms changed on the outcomes of primary questions."""

    def read(self, results: Results, study: StudyInfo) -> tuple[ItemChanges, ...]:
        """Read it, arm by arm."""
        asked = [(each.arm, each.metric) for each in study.questions]
        return tuple(
            found
            for metric in dict.fromkeys(metric for _, metric in asked)
            for found in results.item_changes(study, metric, most=_MOST)
            if (found.arm, metric) in asked
        )


def changes_shown(frame: Frame | None, only: frozenset[str]) -> tuple[ItemChanges, ...]:
    """Return the changes of the arms that are shown; none against another reference."""
    if frame is None or not frame.is_declared:
        return ()
    found = frame.answer(ItemsQuery()) or ()
    return tuple(each for each in found if not only or each.arm in only)


def items_table(frame: Frame, found: tuple[ItemChanges, ...], glyphs: Glyphs) -> Table:
    """Return a row for each of the items that changed most, arm by arm."""
    has_groups = any(change.group for each in found for change in each.most)
    metrics = {each.metric for each in found}
    rows = tuple(
        _row(frame, each, change, glyphs, has_groups=has_groups, is_one=len(metrics) == 1)
        for each in found
        for change in each.most
    )
    group = ("group",) if has_groups else ()
    titles = ("arm", "item", *group, display(frame.reference, 16), "arm's", f"{glyphs.delta}")
    return Table(
        columns=fitted(rows, titles, right=tuple(range(len(titles) - 3, len(titles)))),
        rows=rows,
        frozen=2,
    )


def _row(  # what a row shows
    frame: Frame, found: ItemChanges, change: ItemChange, glyphs: Glyphs,
    *, has_groups: bool, is_one: bool,
) -> Row:  # fmt: skip
    place = arm_index(frame.study, found.arm)
    name = found.arm if is_one else f"{found.arm}, {found.metric}"
    direction = frame.study.metric(found.metric).direction
    is_good = (change.difference > 0) == (direction == "higher")
    tone = "strong" if direction == "none" else "good" if is_good else "bad"
    numbers = (f"{change.baseline:.4g}", f"{change.arm:.4g}")
    return Row(
        key=f"{found.arm}\0{found.metric}\0{change.item}",
        cells=(
            (Span(f"{arm_letter(place)} ", arm_tone(place)), Span(display(name, 24))),
            (Span(display(change.item, 40)),),
            *(((Span(display(change.group, 24), "muted"),),) if has_groups else ()),
            *((Span(glyphs.signed(number)),) for number in numbers),
            (Span(glyphs.signed(f"{change.difference:+.4g}"), tone),),
        ),
    )


def items_title(found: tuple[ItemChanges, ...], glyphs: Glyphs) -> str:
    """Return how many items changed; of several arms only what the table is."""
    if len(found) != 1:
        return "Items that changed most"
    [only] = found
    return (
        f"Items that changed most {glyphs.separator} {only.lower:,} lower, {only.higher:,} higher,"
        f" {only.same:,} the same"
    )
