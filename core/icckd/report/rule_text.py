"""What a report says of the rule by which its study is judged: intervals, verdicts, looks.

Of studies that were journalled before rules were it says what it said then.
"""

from collections.abc import Iterator, Sequence

from icckd.report.item_text import abouts, rule_of_items
from icckd.report.numbers import duration
from icckd.report.text import difference_unit, display, seeds_text
from icckd.results.types import LEVEL, Comparison, StudyInfo
from icckd.stats.fixed import FLIPS_UP_TO, LEAST_PAIRS
from icckd.stats.two_stage import first_share


def unit_of(study: StudyInfo, metric: str) -> str:
    """Return the unit of differences in a metric, with a leading blank, or ""."""
    return difference_unit(study.metric(metric).unit)


def more_seeds_text(row: Comparison, seconds: float | None = None) -> str:
    """Return how many more seeds should decide, with their price in time; "" if unknown."""
    most, least = row.more_seeds, row.more_seeds_least
    if most is None:
        return ""
    if least is None:
        return f"about {most} more seed{'s' if most > 1 else ''}"
    price = "" if seconds is None else f", about {duration(most * seconds)} of training"
    count = f"{least} to {most}" if least < most else f"about {most}"
    return f"{count} more seed{'s' if most > 1 else ''}{price}"


def interval_rule(study: StudyInfo, rows: Sequence[Comparison]) -> str:
    """Return which interval stands below a mean, by the levels of the rows' intervals."""
    if study.rule == "":
        kind = "the confidence sequence" if study.is_sequential else "Student's t"
        return (
            f"with the 95 % interval of {kind} on the paired differences, each interval on its own"
        )
    return (
        "with an interval: of the primary questions at the level of their test, so that it excludes"
        " 0 exactly when that test finds a difference, of all others"
        f" {_cover_of_others(study, rows)}, each on its own"
    )


def _cover_of_others(study: StudyInfo, rows: Sequence[Comparison]) -> str:
    """Return how much intervals that answer no primary question cover.

    A first look has a part of each level, until an arm's extension is complete.
    """
    asked = {(each.arm, each.metric) for each in study.questions}
    shown = [row for row in rows if row.low is not None and (row.arm, row.metric) not in asked]
    levels = {row.level for row in shown if row.level is not None} or {LEVEL}
    first = ", ".join(cover_text(level) for level in sorted(levels - {LEVEL}))
    if LEVEL not in levels:
        return f"{first} ({cover_text(LEVEL)} together with the extension)"
    return cover_text(LEVEL) + (f", {first} where the extension is not complete" if first else "")


def cover_text(level: float) -> str:
    """Return how much an interval at a level covers."""
    return f"{100 * (1 - level):.4g} %"


def levels(study: StudyInfo, rows: Sequence[Comparison]) -> Iterator[str]:
    """Say how much the intervals of primary questions cover."""
    asked = {(each.arm, each.metric) for each in study.questions} if study.rule else set()
    covered: dict[str, list[str]] = {}
    for row in rows:
        if (row.arm, row.metric) in asked and row.level is not None and row.low is not None:
            covers = cover_text(row.level)
            covered.setdefault(covers, []).append(f"{display(row.arm)} in {display(row.metric)}")
    if covered:
        told = "; ".join(f"{', '.join(who)} {covers}" for covers, who in covered.items())
        yield f"Intervals of the primary questions cover: {told}."


_NO_QUESTION = "The study asks no primary question ([[ablation]]), so that there are no verdicts."


def verdict_rule(study: StudyInfo, rows: Sequence[Comparison] = ()) -> str:
    """Return how verdicts are reached."""
    if study.rule == "":
        return _classic_verdict_rule(study)
    asked = study.questions
    if not asked:
        return f"{_NO_QUESTION} Outcomes are corrected by Holm among themselves."
    metrics = ", ".join(display(metric) for metric in dict.fromkeys(a.metric for a in asked))
    bounds = dict.fromkeys(
        f"±{a.smallest_effect:g}{unit_of(study, a.metric)}"
        + (f" of {display(a.metric)}" if len({b.metric for b in asked}) > 1 else "")
        for a in asked
        if a.smallest_effect is not None
    )
    alike = f", equivalence within {', '.join(bounds)} by two one-sided tests" if bounds else ""
    if abouts(study, rows) - {""}:
        told = " ".join(rule_of_items(study, rows))
        return (
            f"Verdicts are about the part, on {metrics}: {_questions(study)} at {study.level:g}"
            f"{alike}. {told} Other outcomes of these arms are corrected by Holm among themselves"
            " and are no verdicts."
        )
    return (
        f"Verdicts are about the part, on {metrics}: {_questions(study)} at {study.level:g}, by"
        f" {_test(study)}{alike}. No verdict below {LEAST_PAIRS} pairs. Other outcomes of these"
        " arms are corrected by Holm among themselves and are no verdicts."
    )


def _questions(study: StudyInfo) -> str:
    count = len(study.questions)
    return "one question" if count == 1 else f"{count} questions, one family, in a closed test"


def _test(study: StudyInfo) -> str:
    if study.is_sequential:
        return "a confidence sequence"
    return (
        "Student's t of the paired differences, whose variance is never taken for less than the"
        f" test images that two models judge differently allow; up to {FLIPS_UP_TO} pairs exact"
        " sign flips have to agree"
    )


def _classic_verdict_rule(study: StudyInfo) -> str:
    test = "the sequential test" if study.is_sequential else "paired t test"
    alike = ""
    if study.smallest_effect is not None:
        how = "the whole interval lies" if study.is_sequential else "two one-sided tests at 0.05"
        inside = "within" if study.is_sequential else "hold against"
        alike = f"equivalent when {how} {inside} ±{bound_text(study)}, else "
    more = "" if study.smallest_effect is None else (
        " More seeds: to find that difference, or none, with power 0.8 at the spread seen."
    )  # fmt: skip
    return (
        f"Verdicts are about the part, on {display(study.primary)}: {alike}{test} at 0.05, adjusted"
        f" by Holm over the {len(study.family)} arms of the family.{more}"
    )


def bound_text(study: StudyInfo) -> str:
    """Return the smallest effect with its unit."""
    return f"{study.smallest_effect:g}{unit_of(study, study.primary)}"


def looks_rule(study: StudyInfo) -> str:
    """Return what holds of looking before the last seed; "" where nothing is to be said."""
    if study.looks == "always":
        return _always(study)
    if study.looks == "once":
        return ""
    first = len(study.seeds) - len(study.added)
    share = first_share(first)
    if study.looks == "first look":
        spent = "spends half of each level" if share else "spends nothing and decides nothing"
        return (
            f"This is the first look at a study that declares one extension: it {spent}. Seeds"
            " added once are tested by themselves and combined with these (inverse normal, equal"
            " weights)."
        )
    return (
        f"The study's one extension, {seeds_text(study.added)}, was tested by itself and"
        f" combined with the first {first} seeds (inverse normal, equal weights), which had"
        f" {share:g} of each level at the first look; verdicts of that look stay. After stopping"
        " early the mean difference is slightly too large on average."
    )


def _always(study: StudyInfo) -> str:
    late = study.added_later or study.added
    why = (
        f"{seeds_text(late if study.rule else study.added)} came after results had been seen"
        if study.added
        else "The study declares it"
    )
    level = f" at {study.level:g}" if study.level < 0.05 else ""
    return (
        f"{why}: intervals, p and verdicts are those of a confidence sequence (normal mixture,"
        f" standardized effect {study.sequential_effect:g}){level}, which stay valid however often"
        " one looks; they are wider than those of a plan fixed beforehand."
    )


def further_findings(study: StudyInfo, rows: Sequence[Comparison]) -> Iterator[str]:
    """Say which other outcomes of the family's arms differ after correction."""
    asked = {(each.arm, each.metric) for each in study.questions}
    others = [r for r in rows if r.p_adjusted is not None and (r.arm, r.metric) not in asked]
    if study.rule == "" or not others:
        return
    found = [r for r in others if r.p_adjusted is not None and r.p_adjusted <= study.level]
    told = ", ".join(
        f"{display(r.arm)} in {display(r.metric)} (corrected p {r.p_adjusted:.2g})" for r in found
    )
    yield (
        f"Of {len(others)} other outcomes of the family's arms, corrected by Holm,"
        f" {len(found) or 'none'} differ{'s' if len(found) == 1 else ''}"
        f"{f': {told}' if told else ''}. That is no verdict."
    )


def statistics_text(study: StudyInfo, rows: Sequence[Comparison] = ()) -> Iterator[str]:
    """Yield the sentences of the methods paragraph about tests and corrections."""
    if study.rule == "":
        yield from _classic_statistics(study)
        return
    if not study.questions:
        yield f"{_NO_QUESTION} Effect sizes are Cohen's d_z with Hedges' correction."
        return
    if abouts(study, rows) - {""}:
        yield f"Differences were tested at {study.level:g} ({_questions(study)})."
        yield from rule_of_items(study, rows)
        yield from _equivalence_bounds(study)
        return
    yield (
        f"Paired differences were tested at {study.level:g} ({_questions(study)}) by"
        f" {_test(study)}; differences and equivalence share that level in a closed test (weights 3"
        " to 2). Effect sizes are Cohen's d_z with Hedges' correction."
    )
    yield f"Fewer than {LEAST_PAIRS} pairs give no verdict."
    if looks := looks_rule(study):
        yield looks
    yield from _equivalence_bounds(study)


def _equivalence_bounds(study: StudyInfo) -> Iterator[str]:
    for each in study.questions:
        if each.smallest_effect is not None:
            yield (
                f"For {display(each.arm)} differences in {display(each.metric)} within"
                f" ±{each.smallest_effect:g}{unit_of(study, each.metric)} count as equivalent (two"
                " one-sided tests)."
            )


def _classic_statistics(study: StudyInfo) -> Iterator[str]:
    holm = f"adjusted by Holm's method over the {len(study.family)} arms of the declared family"
    if study.is_sequential:
        added = f" because {seeds_text(study.added)} were added later" if study.added else ""
        yield (
            "Paired differences are given with 95 % confidence sequences for normal data of unknown"
            f" variance (normal mixture, standardized effect {study.sequential_effect:g}), valid at"
            f" every number of seeds{added}; p values are their anytime-valid counterparts, {holm}."
        )
        if study.smallest_effect is not None:
            yield (
                "Equivalence means that the whole confidence sequence lies within"
                f" ±{bound_text(study)}."
            )
        return
    yield (
        "Paired differences are given with 95 % intervals of Student's t and two-sided paired t"
        f" tests, {holm}; effect sizes are Cohen's d_z with Hedges' correction."
    )


def caption_rule(study: StudyInfo, rows: Sequence[Comparison] = ()) -> str:
    """Return what the caption of a table of the primary outcome says after "over equal seeds"."""
    more = "verdicts are about the part; (+k): about k more seeds would decide."
    size = "d_z: standardized paired difference with Hedges' correction."
    if study.rule and not study.questions:
        return f"{interval_rule(study, rows)}. {size} p: corrected by Holm."
    if study.rule:
        bounds = {q.smallest_effect for q in study.questions if q.metric == study.primary}
        unit = unit_of(study, study.primary)
        within = ", ".join(f"±{bound:g}{unit}" for bound in bounds if bound is not None)
        alike = f" Equivalent: within {within}." if within else ""
        if abouts(study, rows) - {""}:
            told = " ".join(rule_of_items(study, rows))
            return (
                f"{interval_rule(study, rows)}. {told} d_z: standardized difference of items with"
                f" Hedges' correction. p: corrected within {_questions(study)}; verdicts are about"
                f" the part.{alike}"
            )
        return (
            f"{interval_rule(study, rows)}. {size} p: corrected within {_questions(study)};"
            f" {more}{alike}"
        )
    kind = "the confidence sequence" if study.is_sequential else "Student's t"
    tests = "anytime-valid p" if study.is_sequential else "paired t tests"
    alike = ""
    if study.smallest_effect is not None:
        how = "interval inside" if study.is_sequential else "two one-sided tests at 0.05 against"
        alike = f" Equivalent: {how} ±{bound_text(study)}."
    return (
        f"with the 95 % interval of {kind} on the paired differences. {size} p: {tests}, adjusted"
        f" by Holm over the {len(study.family)} arms of the family; {more}{alike}"
    )
