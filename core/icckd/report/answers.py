"""What a study answers, in one plain sentence for each primary question: what a report begins with.

    Removing the margin filter lowers teacher.top1 by 1.30 points [0.40, 2.20] (8 paired seeds,
    corrected p = 0.010): the part helps.

Studies that were journalled before rules were have none: their verdicts stand in their table.
"""

import math
from collections.abc import Mapping, Sequence

from icckd.report.item_text import more_items_text, not_yet, speaks
from icckd.report.numbers import Scale
from icckd.report.rule_text import more_seeds_text
from icckd.report.text import difference_unit, display, scale_of, seeds_text
from icckd.results.types import Comparison, StudyInfo
from icckd.stats.fixed import LEAST_PAIRS
from icckd.study.records import Arm

_DOING = {
    "remove": "Removing", "replace": "Replacing", "add": "Adding", "set": "Setting", "use": "Using",
    "lower": "Lowering", "raise": "Raising", "vary": "Varying", "disable": "Disabling",
    "drop": "Dropping", "freeze": "Freezing", "train": "Training", "change": "Changing",
    "halve": "Halving", "double": "Doubling", "turn": "Turning", "skip": "Skipping",
    "reduce": "Reducing", "increase": "Increasing", "keep": "Keeping", "take": "Taking",
}  # fmt: skip


def answers(
    study: StudyInfo, rows: Sequence[Comparison], seconds: float | None = None
) -> tuple[str, ...]:
    """Return the sentences, in the order of the questions.

    Args:
        study: The study.
        rows: Its comparisons.
        seconds: Training time of one more seed of all arms, if known.
    """
    if study.rule == "":
        return ()
    found = {(row.arm, row.metric): row for row in rows}
    of_metric: dict[str, list[Comparison]] = {}
    for row in rows:
        of_metric.setdefault(row.metric, []).append(row)
    scales = {metric: scale_of(same) for metric, same in of_metric.items()}
    arms = {arm.name: arm for arm in study.arms}
    return tuple(
        _answer(study, arms[each.arm], found[each.arm, each.metric], scales, seconds)
        for each in study.questions
        if each.arm in study.family and (each.arm, each.metric) in found
    )


def _answer(
    study: StudyInfo,
    arm: Arm,
    row: Comparison,
    scales: Mapping[str, Scale],
    seconds: float | None,
) -> str:
    doing, metric = _doing(arm), display(row.metric)
    more = more_seeds_text(row, seconds)
    more += "," if seconds is not None and row.more_seeds_least is not None else ""
    if row.why and row.verdict in ("", "undecided"):
        return _not_yet(doing, metric, row, more)
    if not (row.pairs or row.is_unpaired):
        return f"What {_small(doing)} does to {metric} is not known yet: no seed is complete."
    if (row.difference is None or row.diverged) and not row.about:
        return _by_ranks(arm, doing, metric, row, more)
    effect = _effect(doing, metric, row, scales[row.metric])
    if row.verdict in ("helps", "hurts"):
        return f"{effect} ({_basis(row)}): {verdict_of(arm, row.verdict)}."
    if row.verdict == "equivalent":
        return f"{effect} ({_basis(row)}): {_equivalent(study, row)}."
    more = more_items_text(row) if row.about else more
    advice = f", and {more} should decide" if more else ""
    return f"{effect} ({_basis(row)}): undecided{advice}."


def verdict_of(arm: Arm, verdict: str) -> str:
    """Return what a difference says: of the part that an arm changes, else of the arm itself."""
    if arm.role in ("variant", "combination"):
        return f"{'worse' if verdict == 'helps' else 'better'} than the baseline"
    return f"the part {verdict}"


def _doing(arm: Arm) -> str:
    """Return what an arm does as the subject of a sentence: "Removing the margin filter"."""
    verb, _, rest = display(arm.title, 200).partition(" ")
    if rest and verb.lower() in _DOING:
        return f"{_DOING[verb.lower()]} {rest}"
    return f"Arm {display(arm.name)}"


def _small(doing: str) -> str:
    return doing[0].lower() + doing[1:]


def _effect(doing: str, metric: str, row: Comparison, scale: Scale) -> str:
    """Return what happens to the metric, with the interval where there is one."""
    difference, low, high = row.difference or 0.0, row.low, row.high
    unit = difference_unit(row.unit) if scale.divisor == 1 else f" {scale.unit}"
    if row.verdict in ("helps", "hurts"):
        sign = math.copysign(1.0, difference)
        ends = sorted(sign * end for end in (low, high) if end is not None)
        verb = "raises" if difference > 0 else "lowers"
        size = f"{scale.value(abs(difference))}{unit}"
        return f"{doing} {verb} {metric} by {size}{_interval([scale.value(e) for e in ends])}"
    shown = [scale.difference(end) for end in (low, high) if end is not None]
    return f"{doing} changes {metric} by {scale.difference(difference)}{unit}{_interval(shown)}"


def _interval(ends: Sequence[str]) -> str:
    return f" [{', '.join(ends)}]" if len(ends) == 2 else ""


def _basis(row: Comparison) -> str:
    """Return on how many pairs it rests, and the corrected p of what was found."""
    if row.is_unpaired:
        pairs = f"{row.n} seeds that share none with the baseline, Welch's t test"
    else:
        ranked = len(row.diverged) if row.difference is not None else 0
        count = row.pairs + ranked  # those that diverged have a rank, and no difference
        pairs = speaks(row) if row.about else f"{count} paired seed{'s' if count != 1 else ''}"
    p, what = _p_of(row)
    between = "; " if row.about else ", "
    return pairs if p is None else f"{pairs}{between}{what} {_equals(p)}"


def _p_of(row: Comparison) -> tuple[float | None, str]:
    if row.verdict == "equivalent":
        return row.p_equivalence_adjusted, "corrected equivalence p"
    return row.p_adjusted, "corrected p"


def _equals(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _equivalent(study: StudyInfo, row: Comparison) -> str:
    unit = difference_unit(row.unit)
    within = f"within ±{row.smallest_effect:g}{unit}, equivalent to the baseline"
    is_real = row.p_adjusted is not None and row.p_adjusted <= study.level
    return f"{within}, a real difference smaller than what matters" if is_real else within


def _not_yet(doing: str, metric: str, row: Comparison, more: str) -> str:
    """Return why there cannot be an answer yet."""
    subject = f"What {_small(doing)} does to {metric}"
    if row.why == "seeds to come":
        seeds = f"{row.to_come} paired seed{'s are' if row.to_come > 1 else ' is'}"
        return f"{subject} is not decided yet: {seeds} still to come."
    if row.why == "no test images":
        return (
            f"{subject} cannot be judged: which test images the models were right about is not"
            " recorded for every seed."
        )
    if row.why == "no common seeds":
        return (
            f"{subject} cannot be judged: the arms share no seed, and some diverged or were added"
            " after results had been seen."
        )
    if row.is_unpaired:
        return (
            f"{subject} is not known: without a common seed, a verdict takes {LEAST_PAIRS} seeds of"
            " each arm at least."
        )
    if row.about:
        return not_yet(subject, row)
    advice = f": {more} should decide" if more else ""
    return (
        f"{subject} is not known: {row.pairs} paired seed{'s are' if row.pairs != 1 else ' is'} too"
        f" few, a verdict takes {LEAST_PAIRS} at least{advice}."
    )


def _by_ranks(arm: Arm, doing: str, metric: str, row: Comparison, more: str) -> str:
    """Return the answer where a seed never reached its target, or diverged."""
    happened = []
    if row.diverged:
        happened.append(f"training diverged under {seeds_text(row.diverged)}")
    if row.never:
        happened.append(f"{metric} was never reached in {row.never} of {row.n} seeds")
    what = " and ".join(happened) or f"{metric} was never reached by the baseline in some seeds"
    verdict = verdict_of(arm, row.verdict) if row.verdict in ("helps", "hurts") else "undecided"
    if verdict == "undecided" and more:
        verdict += f", and {more} should decide"
    return f"{doing}: {what}, ranked as the worst outcome ({_basis(row)}): {verdict}."
