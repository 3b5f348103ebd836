"""What planned seeds can detect, in words."""

from collections.abc import Iterator

from icckd.report.rule_text import bound_text, unit_of
from icckd.results.seeds import PILOT_PAIRS, SeedPower
from icckd.results.types import StudyInfo
from icckd.stats.fixed import LEAST_PAIRS


def seed_power_lines(study: StudyInfo, found: SeedPower, about: str = "") -> list[str]:
    """Return the lines of `icckd plan` about seeds; `about` tells of verdicts about items."""
    return [
        "",
        f"what {found.seeds} paired seeds can tell on {study.primary}:",
        *(
            f"  {text}"
            for text in [
                *_power(study, found),
                *_pilot(study, found),
                *([about] if about else _warnings(study, found)),
            ]
        ),
    ]


def _power(study: StudyInfo, found: SeedPower) -> Iterator[str]:
    rule = "the rule for repeated looks" if study.is_sequential else "a paired t test"
    if study.looks == "two looks":
        rule = "a first look and its one extension together"
    together = (
        f", {found.family_size} questions corrected together" if found.family_size > 1 else ""
    )
    if found.first_level is not None:
        yield from _first_look(found, together)
        return
    if found.detectable is None:
        yield f"no difference is found with power 0.8 by {rule}{together}"
        return
    yield f"by {rule}{together}: with power 0.8"
    yield f"  differences of {found.detectable:.2f} times their standard deviation over seeds"


def _first_look(found: SeedPower, together: str) -> Iterator[str]:
    """Say what the first look may spend, and what that costs."""
    if found.first_detectable is None or found.detectable is None:
        yield (
            f"fewer than {LEAST_PAIRS} pairs give no verdict: they say how many more it takes, in"
            " the study's one extension"
        )
        return
    yield (
        f"a first look{together}: one extension may follow, so p has to be at most"
        f" {found.first_level:.3g} here"
    )
    yield (
        f"  with power 0.8 differences of {found.first_detectable:.2f} times their standard"
        " deviation over seeds"
    )
    yield (
        f'  without an extension (study.extension = "none") those of {found.detectable:.2f} times,'
        f" which the first look finds with power {found.first_power:.2f}"
    )


def _pilot(study: StudyInfo, found: SeedPower) -> Iterator[str]:
    unit = unit_of(study, study.primary)
    if found.spread is None:
        yield f"which deviation that is, is not known yet: no results over {PILOT_PAIRS} pairs"
        return
    detects = "" if found.detectable is None else (
        f": {found.detectable * found.spread:.3g}{unit} are found"
    )  # fmt: skip
    yield (
        f"at the standard deviation of {found.spread:.3g}{unit} seen over {found.pairs}"
        f" pairs{detects}"
    )
    if study.smallest_effect is not None:
        needed = "more than 100,000" if found.needed is None else f"about {found.needed}"
        yield f"to decide about the smallest effect, {bound_text(study)}, takes {needed} seeds"


def _warnings(study: StudyInfo, found: SeedPower) -> Iterator[str]:
    if found.seeds < 2:
        yield "warning: one seed has no interval and no test"
    elif study.rule and not study.is_sequential:
        if found.seeds < LEAST_PAIRS and found.first_level is None:
            yield f"warning: fewer than {LEAST_PAIRS} pairs give no verdict"
    elif found.smallest_p > found.level and not found.is_sequential:
        yield (
            f"warning: an exact sign-flip or rank test of {found.seeds} pairs cannot reach level"
            f" {found.level:.3g} at all: its smallest p is {found.smallest_p:.3g}"
        )
