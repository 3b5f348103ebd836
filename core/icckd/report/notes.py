"""What a reader must know to read the numbers: rules, what is missing, what is matched."""

from collections.abc import Iterator, Mapping
from statistics import fmean

from icckd.report.text import display
from icckd.results.read import Results
from icckd.results.types import ArmRow, Comparison, StudyInfo, TrialRow
from icckd.spec.metrics import OUTCOMES

STRENGTH = "teacher.intra_ratio"
MATCHED_WITHIN = 10  # percent of the baseline's


def label(arm: ArmRow) -> str:
    """Return what an arm is there for."""
    if arm.role == "control" and arm.control_for:
        return f"control for {display(arm.control_for)}"
    return f"{arm.role} ({display(arm.action)})" if arm.action else arm.role


def verdict_text(arm: ArmRow, row: Comparison) -> str:
    """Return what a comparison says about the part."""
    if row.verdict in ("helps", "hurts"):
        return f"the part {row.verdict}"
    if row.verdict == "equivalent":
        return "equivalent to the baseline"
    return row.verdict or "nothing to judge yet"


def notes(results: Results, study: StudyInfo) -> list[str]:
    """Return the notes of a report, in order."""
    rows = results.comparisons(study)
    return [
        *_rules(study, rows),
        *_missing(study, results.trials(study)),
        *_matched(study, results.values(study, STRENGTH)),
        *_without_value(study, rows),
    ]


def _rules(study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    yield (
        "Outcomes are those after the last epoch; the test set is used once, then. Convergence is"
        " judged on validation accuracy."
    )
    yield (
        "mean ± standard deviation (n): n counts seeds, each a teacher trained anew; students of"
        " one teacher are averaged first."
    )
    yield (
        "Below it the arm minus the baseline over equal seeds, with the 95 % interval of Student's"
        " t on the paired differences, each interval on its own. Differences of accuracies are in"
        " percentage points."
    )
    yield (
        f"Verdicts are about the part, on {display(study.primary)}: {_equivalence(study)}paired t"
        f" test at 0.05, adjusted by Holm over the {len(study.family)} arms of the family."
    )
    yield (
        "The split into training, validation and test data is the same for all seeds: intervals"
        " speak about training randomness."
    )
    if any(row.never for row in rows):
        yield (
            "Where a seed never reached its target the median is shown and no difference: leaving"
            " out such a seed would favour the arm that fails."
        )


def _equivalence(study: StudyInfo) -> str:
    if study.smallest_effect is None:
        return ""
    unit = OUTCOMES[study.primary].unit if study.primary in OUTCOMES else ""
    unit = {"%": " points", "1": "", "": ""}.get(unit, f" {unit}")
    return (
        "equivalent when two one-sided tests at 0.05 hold against"
        f" ±{study.smallest_effect:g}{unit}, else "
    )


def _missing(study: StudyInfo, trials: tuple[TrialRow, ...]) -> Iterator[str]:
    for arm in study.arms:
        by_reason: dict[str, list[int]] = {}
        for trial in trials:
            if trial.arm == arm.name and trial.state != "complete":
                why = f" ({display(trial.reason)})" if trial.reason else ""
                by_reason.setdefault(f"{trial.state}{why}", []).append(trial.seed)
        for reason, seeds in by_reason.items():
            name = "seed" if len(seeds) == 1 else "seeds"
            numbers = ", ".join(map(str, seeds))
            yield f"{display(arm.name)} lacks {name} {numbers}: {reason}."


def _matched(study: StudyInfo, values: Mapping[str, Mapping[int, float]]) -> Iterator[str]:
    baseline = values.get(study.baseline, {})
    for arm in study.arms:
        mine = values.get(arm.name, {})
        shared = sorted(mine.keys() & baseline.keys())
        if arm.role != "control" or not shared:
            continue
        reference = fmean(baseline[seed] for seed in shared)
        if reference > 0:
            share = 100 * fmean(mine[seed] for seed in shared) / reference
            far = abs(share - 100) > MATCHED_WITHIN
            yield (
                f"{display(arm.name)}: effective strength of the intra-class loss ({STRENGTH}) is"
                f" {share:.0f} % of the baseline's over {len(shared)} seeds"
                f"{f', not matched within {MATCHED_WITHIN} %' if far else ''}."
            )


def _without_value(study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    measured = {row.metric for row in rows if row.n}
    for metric in study.metrics:
        if metric in measured:
            continue
        device = OUTCOMES[metric].device if metric in OUTCOMES else "any"
        why = "" if device == "any" else f"; it is recorded on {device} devices only"
        yield f"{display(metric)} has no value here{why}."
