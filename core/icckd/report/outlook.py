"""What planned seeds can detect, in words."""

from collections.abc import Iterator

from icckd.report.notes import bound_text
from icckd.results.seeds import PILOT_PAIRS, Outlook
from icckd.results.types import StudyInfo
from icckd.spec.metrics import OUTCOMES


def outlook_lines(study: StudyInfo, found: Outlook) -> list[str]:
    """Return the lines of `icckd plan` about seeds."""
    return [
        "",
        f"what {found.seeds} paired seeds can tell on {study.primary}:",
        *(
            f"  {text}"
            for text in [*_power(study, found), *_pilot(study, found), *_warnings(found)]
        ),
    ]


def _power(study: StudyInfo, found: Outlook) -> Iterator[str]:
    rule = "the sequential rule" if study.is_sequential else "a paired t test"
    family = (
        f"the hardest of {found.family_size} comparisons (level {found.level:.3g})"
        if found.family_size > 1
        else f"one comparison (level {found.level:.3g})"
    )
    if found.detectable is None:
        yield f"no difference is found with power 0.8 by {rule}, {family}"
        return
    yield f"by {rule}, {family},"
    yield (
        f"  differences of {found.detectable:.2f} standard deviations of the paired differences are"
        " found with power 0.8"
    )


def _pilot(study: StudyInfo, found: Outlook) -> Iterator[str]:
    unit = OUTCOMES[study.primary].unit if study.primary in OUTCOMES else ""
    unit = {"%": " points", "1": "", "": ""}.get(unit, f" {unit}")
    if found.spread is None:
        yield f"the spread is not known yet: no earlier results over {PILOT_PAIRS} pairs"
        return
    detects = "" if found.detectable is None else (
        f": {found.detectable * found.spread:.3g}{unit} are found"
    )  # fmt: skip
    yield f"at the spread of {found.spread:.3g}{unit} seen over {found.pairs} pairs{detects}"
    if study.smallest_effect is not None:
        needed = "more than 100,000" if found.needed is None else f"about {found.needed}"
        yield f"to decide about the smallest effect, {bound_text(study)}, takes {needed} seeds"


def _warnings(found: Outlook) -> Iterator[str]:
    if found.seeds < 2:
        yield "warning: one seed has no interval and no test"
    elif found.smallest_p > found.level and not found.is_sequential:
        yield (
            f"warning: an exact sign-flip or rank test of {found.seeds} pairs cannot reach level"
            f" {found.level:.3g} at all: its smallest p is {found.smallest_p:.3g}"
        )
