"""What a reader must know to read the numbers: rules, what is missing, what is matched."""

from collections.abc import Iterator, Mapping
from statistics import fmean

from icckd.report.context import published_notes
from icckd.report.text import display
from icckd.results.read import Results
from icckd.results.synthetic import on_synthetic_data
from icckd.results.types import ArmRow, Comparison, StudyInfo, TrialRow
from icckd.spec.metrics import OUTCOMES

STRENGTH = "teacher.intra_ratio"
MATCHED_WITHIN = 10  # percent of the baseline's


def label(arm: ArmRow) -> str:
    """Return what an arm is there for."""
    if arm.role == "control" and arm.control_for:
        return f"control for {display(arm.control_for)}"
    return f"{arm.role} ({display(arm.action)})" if arm.action else arm.role


def synthetic(study: StudyInfo) -> str:
    """Return what is added to a study's line where it trains on synthetic data."""
    return ", synthetic data" if on_synthetic_data(study) else ""


def verdict_text(row: Comparison) -> str:
    """Return what a comparison says about the part."""
    if row.verdict in ("helps", "hurts"):
        return f"the part {row.verdict}"
    if row.verdict == "equivalent":
        return "equivalent to the baseline"
    if row.more_seeds is not None:
        return f"undecided: about {row.more_seeds} more seed{'s' if row.more_seeds > 1 else ''}"
    return row.verdict or "nothing to judge yet"


def bound_text(study: StudyInfo) -> str:
    """Return the smallest effect with its unit."""
    unit = OUTCOMES[study.primary].unit if study.primary in OUTCOMES else ""
    unit = {"%": " points", "1": "", "": ""}.get(unit, f" {unit}")
    return f"{study.smallest_effect:g}{unit}"


def seeds_text(seeds: tuple[int, ...]) -> str:
    """Return seeds in words, runs of them as ranges.

    >>> seeds_text((0, 1, 2, 5)), seeds_text((3,))
    ('seeds 0-2, 5', 'seed 3')
    """
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(texts)}"


def notes(results: Results, study: StudyInfo) -> list[str]:
    """Return the notes of a report, in order."""
    rows = results.comparisons(study)
    return [
        *_synthetic(study),
        *_rules(study, rows),
        *_special(study, rows),
        *_matched(study, results.values(study, STRENGTH)),
        *_without_value(study, rows),
        *published_notes(study),
    ]


def _synthetic(study: StudyInfo) -> Iterator[str]:
    if on_synthetic_data(study):
        yield "The images are synthetic: drawn by icckd from a formula, no real data."


def incomplete(results: Results, study: StudyInfo) -> list[str]:
    """Return what is missing, arm by arm with its reason, and which seeds came later."""
    return [
        *_missing(study, results.trials(study)),
        *(
            f"{display(arm)} was given no more seeds after the first {count}: it was worse than the"
            " baseline by the rule below."
            for arm, count in study.stopped.items()
        ),
        *(
            [
                f"{seeds_text(study.left_out)} ran earlier with the same study and are left out"
                " of this report: say why, or put them back."
            ]
            if study.left_out
            else []
        ),
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
        "Below it the arm minus the baseline over equal seeds, with the 95 % interval of"
        f" {_interval(study)} on the paired differences, each interval on its own. Differences of"
        " accuracies are in percentage points."
    )
    yield _verdict_rule(study)
    yield (
        "The split into training, validation and test data is the same for all seeds: intervals"
        " speak about training randomness."
    )
    if study.is_sequential:
        yield _sequential(study)
    elif smallest := [r.p_exact_smallest for r in rows if r.p_exact_smallest is not None]:
        yield (
            "d_z is the mean paired difference over its standard deviation, with Hedges'"
            " correction; exact p flips the signs of the paired differences, and with so many pairs"
            f" cannot fall below {max(smallest):.2g}."
        )


def _interval(study: StudyInfo) -> str:
    return "the confidence sequence" if study.is_sequential else "Student's t"


def _verdict_rule(study: StudyInfo) -> str:
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


def _sequential(study: StudyInfo) -> str:
    why = (
        f"{seeds_text(study.added)} came after results had been seen"
        if study.added
        else "The study declares it"
    )
    return (
        f"{why}: intervals, p and verdicts are those of a confidence sequence (normal mixture,"
        f" standardized effect {study.sequential_effect:g}), which stay valid however often one"
        " looks; they are wider than those of a plan fixed beforehand."
    )


def _special(study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    if any(row.never for row in rows):
        yield (
            "Where a seed never reached its target the median is shown and no difference; p then"
            " comes from signed ranks, such seeds ranked worst: leaving them out would favour the"
            " arm that fails."
        )
    for row in rows:
        if row.metric == study.primary and row.diverged:
            yield (
                f"{display(row.arm)} diverged under {seeds_text(row.diverged)}: the difference is"
                " over the other pairs, p counts such seeds as the worst outcome."
            )
    for row in rows:
        if row.bootstrap_low is not None and row.bootstrap_high is not None:
            yield (
                f"{display(row.arm)}: 95 % bootstrap interval (BCa) of the difference in"
                f" {display(row.metric)} [{row.bootstrap_low:+.4g}, {row.bootstrap_high:+.4g}]."
            )


def _missing(study: StudyInfo, trials: tuple[TrialRow, ...]) -> Iterator[str]:
    for arm in study.arms:
        by_reason: dict[str, list[int]] = {}
        for trial in trials:
            if trial.arm == arm.name and trial.state != "complete":
                why = f" ({display(trial.reason)})" if trial.reason else ""
                by_reason.setdefault(f"{trial.state}{why}", []).append(trial.seed)
        for reason, seeds in by_reason.items():
            yield f"{display(arm.name)} lacks {seeds_text(tuple(seeds))}: {reason}."


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
