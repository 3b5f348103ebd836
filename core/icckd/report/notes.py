"""The sentences of a report: rules, what is missing, methods, captions, published numbers."""

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from icckd.errors import SpecError
from icckd.report import observed
from icckd.report.item_text import (
    abouts,
    apart_texts,
    changed_afterwards,
    interval_reach,
    left_out,
    more_items_text,
    short_why,
)
from icckd.report.planted import instrument_notes
from icckd.report.rule_text import (
    bound_text,
    caption_rule,
    further_findings,
    interval_rule,
    levels,
    looks_rule,
    more_seeds_text,
    statistics_text,
    verdict_rule,
)
from icckd.report.strength import matched_notes
from icckd.report.text import display, origin_suffix, seeds_text
from icckd.results.bits import Bits, bits_of, mixed_note
from icckd.results.checks import claims
from icckd.results.published import SEPARATOR, Published, published_for
from icckd.results.studies import Provenance, StageProvenance
from icckd.results.types import About, Comparison, StudyInfo, TrialStatus, on_synthetic_data
from icckd.study.arms import Design, expand
from icckd.study.load import study_in_journal
from icckd.study.metrics import of_a_process
from icckd.study.model import Method
from icckd.study.plugins import kinds_of_parts
from icckd.study.records import ENGINE_KINDS, Arm
from icckd.study.source import files_text
from icckd.study.tasks import by_name, read_back

if TYPE_CHECKING:
    from icckd.results.query import Results


def arm_label(arm: Arm) -> str:
    """Return what an arm is there for."""
    if arm.role == "control" and arm.control_for:
        return f"control for {display(arm.control_for)}"
    return f"{arm.role} ({display(arm.action)})" if arm.action else arm.role


def verdict_text(row: Comparison) -> str:
    """Return what a comparison says about the part."""
    if row.verdict in ("helps", "hurts"):
        return f"the part {row.verdict}"
    if row.verdict == "equivalent":
        return "equivalent to the baseline"
    more = more_seeds_text(row)
    if row.why == "seeds to come":
        return f"undecided: {row.to_come} seed{'s' if row.to_come > 1 else ''} to come"
    if row.why == "no test images":
        return "undecided: which test images were right is not known"
    if row.why == "no common seeds":
        return "undecided: no common seeds"
    if why := short_why(row):
        return why
    if row.why == "too few seeds" and row.verdict:
        return f"too few seeds{f': {more}' if more else ''}"
    more = more or more_items_text(row)
    return f"undecided: {more}" if more else row.verdict or "nothing to judge yet"


def seconds_of_seed(results: "Results", study: StudyInfo) -> float | None:
    """Return the training time of one more seed of all arms, from stages that are complete.

    None without any, of runs made elsewhere, and where no comparison says how many more seeds
    should decide. It is what one worker takes after the other.
    """
    is_asked = any(row.more_seeds_least is not None for row in results.comparisons(study))
    if study.observed is not None or not is_asked:
        return None
    complete = [stage for stage in results.queue(study) if stage.state == "complete"]
    seeds = {seed for stage in complete for _, seed in stage.trials}
    return sum(stage.seconds for stage in complete) / len(seeds) if seeds else None


def notes(results: "Results", study: StudyInfo) -> list[str]:
    """Return the notes of a report, in order."""
    rows = results.comparisons(study)
    return [
        *_synthetic(study),
        *_rules(results, study, rows),
        *_special(study, rows),
        *matched_notes(results, study),
        *instrument_notes(study),
        *_without_value(study, rows, results.provenance(study).stages),
        *_mixed_gpus(results.provenance(study).stages),
        *_mixed_pairs(study, results.provenance(study).stages),
        *filter(None, [mixed_note(results.mixed_bits(study))]),
        *_source(results.provenance(study)),
        *published_notes(study),
    ]


def _synthetic(study: StudyInfo) -> Iterator[str]:
    if on_synthetic_data(study):
        yield "The images are synthetic: drawn by icckd from a formula, no real data."


def revision_text(results: "Results", study: StudyInfo) -> str:
    """Return which revision a report shows, where it is not the newest, or not the complete one."""
    this = f"Revision {display(study.revision)} of {date_text(study.planned_at)}"
    revisions = results.revisions(study.name)
    newer = revisions[: [each.key for each in revisions].index(study.key)]
    if newer:
        kind = (
            "the newest complete one"
            if study.key == results.reported(study.name).key
            else "an older one"
        )
        told = "; ".join(f"newer revision {counts_text(each)}" for each in newer)
        return f"{this}, {kind}; {told}."
    other = results.reported(study.name)
    if other.key != study.key:
        return (
            f"{this}, the newest one: {study.complete} of {study.trials} trials; the newest"
            f" complete revision is {display(other.revision)} of {date_text(other.planned_at)}."
        )
    return ""


def counts_text(study: StudyInfo) -> str:
    """Return a revision with how many of its trials are complete."""
    return f"{display(study.revision)}: {study.complete} of {study.trials} trials"


def date_text(moment: float) -> str:
    """Return the day of a time of day, in UTC.

    >>> date_text(0.0)
    '1970-01-01'
    """
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).date().isoformat()


def incomplete(results: "Results", study: StudyInfo) -> list[str]:
    """Return what is missing, arm by arm with its reason, and which seeds came later."""
    return [
        *filter(None, [revision_text(results, study)]),
        *missing_trials(results, study),
        *apart_texts(results, study),
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


def _rules(results: "Results", study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    found = abouts(study, rows)
    yield from _of_runs(results, study, rows, found)
    equal = "equal seeds and items" if found - {""} else "equal seeds"
    yield from of_plugins(results, study)
    yield (
        f"Below it the arm minus the baseline over {equal}, {interval_rule(study, rows)}."
        " Differences of accuracies are in percentage points."
    )
    yield from levels(study, rows)
    yield verdict_rule(study, rows)
    yield from left_out(rows)
    yield from changed_afterwards(study)
    yield from further_findings(study, rows)
    if not study.has_tasks:
        yield (
            "The split into training, validation and test data is the same for all seeds: intervals"
            " speak about training randomness."
        )
    if (looks := looks_rule(study)) and not found - {""}:
        yield looks
    if study.is_sequential:
        return
    if smallest := [r.p_exact_smallest for r in rows if r.p_exact_smallest is not None]:
        yield (
            "d_z is the mean paired difference over its standard deviation, with Hedges'"
            " correction; exact p flips the signs of the paired differences, and with so many pairs"
            f" cannot fall below {max(smallest):.2g}."
        )


def _of_runs(
    results: "Results", study: StudyInfo, rows: tuple[Comparison, ...], found: set[About]
) -> Iterator[str]:
    """Say what the numbers are, whoever trained."""
    if study.observed is not None:
        yield from observed.notes(study, study.observed, found)
        yield from observed.seeds_without_pair(study, rows)
    else:
        yield from _of_code(results, study, found) if study.has_tasks else _OF_ENGINE


_OF_ENGINE = (
    "Outcomes are those after the last epoch; the test set is used once, then. Convergence is"
    " judged on validation accuracy.",
    "mean ± standard deviation (n): n counts seeds, each a teacher trained anew; students of one"
    " teacher are averaged first.",
)


def of_plugins(results: "Results", study: StudyInfo) -> Iterator[str]:
    """Yield which parts are the user's own, and what is known of them."""
    used: dict[str, str] = {}
    for stage in results.provenance(study).stages:
        if stage.kind in ENGINE_KINDS:
            used |= stage.files
    for each in study.plugins.plugins:
        mine = [part for part in study.plugins.parts if part.plugin == each.name]
        if not mine or not each.modules:  # a plug-in of icckd's own has no modules of the user
            continue
        digests = [f"{n} {used.get(n, digest)[:12]}" for n, digest in each.modules.items()]
        yield (
            f"From the plug-in {display(each.name)} ({display(', '.join(digests), 400)}) came"
            f" {display(', '.join(kinds_of_parts(mine)), 300)}: code of this study's author. That"
            " their random numbers follow from the seed, and that a resumed stage ends in the same"
            " bits, is not verified here (icckd.testing checks it)."
        )


def claims_of(results: "Results", study: StudyInfo) -> str:
    """Return what is known of what the study's code promises."""
    stages = results.provenance(study).stages
    files = {stage.kind: stage.files for stage in stages if study.baseline in stage.arms}
    return display(claims(results.folder, read_back(study.resolved), files), 1500)


def _of_code(results: "Results", study: StudyInfo, found: set[About]) -> Iterator[str]:
    """Say what numbers of the user's own code are, and what icckd knows of them."""
    tasks = by_name(read_back(study.resolved))
    taken = [
        f"{kind}.{name} the {_TAKEN[metric.take]}"
        for kind, task in tasks.items()
        for name, metric in task.metrics.items()
        if f"{kind}.{name}" in study.metrics
    ]
    yield (
        "Outcomes are what the study's own code reported: of a series"
        f" {display(', '.join(taken), 400)} value. Whether a test set was used once is not known."
    )
    yield "mean ± standard deviation (n): n counts seeds, each a run of that code."
    yield f"{claims_of(results, study)}. Intervals speak about {interval_reach(found)}."


_TAKEN = {"last": "last", "max": "largest", "min": "smallest", "mean": "mean"}


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


def missing_trials(results: "Results", study: StudyInfo) -> Iterator[str]:
    """Yield which seeds each arm lacks, why, and what to do about a failure."""
    trials = results.trials(study)
    for arm in study.arms:
        by_reason: dict[str, list[TrialStatus]] = {}
        for trial in trials:
            if trial.arm == arm.name and trial.state != "complete":
                why = f" ({display(trial.reason)})" if trial.reason else ""
                by_reason.setdefault(f"{trial.state}{why}", []).append(trial)
        for reason, found in by_reason.items():
            seeds = seeds_text(tuple(trial.seed for trial in found))
            hint = _hint(results, study, found[0])
            yield f"{display(arm.name)} lacks {seeds}: {reason}.{hint}"


def _hint(results: "Results", study: StudyInfo, trial: TrialStatus) -> str:
    """Return what the failed attempt at a trial says can be done, as a sentence, or ""."""
    if trial.state != "failed":
        return ""
    attempts = results.attempts(study, trial.arm, trial.seed)
    hint = next((each.hint for each in reversed(attempts) if each.hint), "")
    return f" Hint: {display(hint).rstrip('.')}." if hint else ""


def _without_value(
    study: StudyInfo, rows: tuple[Comparison, ...], stages: tuple[StageProvenance, ...]
) -> Iterator[str]:
    measured = {row.metric for row in rows if row.n}
    packed = {stage.kind for stage in stages if stage.numerics.get("packed")}
    for metric in study.metrics:
        if metric in measured:
            continue
        device = study.metric(metric).device
        if device != "any":
            yield f"{display(metric)} has no value here; it is recorded on {device} devices only."
        elif of_a_process(metric) and metric.partition(".")[0] in packed:
            yield (
                f"{display(metric)} is not measured: the stages were packed, and several share a"
                ' process; numerics.packing = "off" trains each by itself.'
            )
        else:
            yield f"{display(metric)} has no value here."


def _mixed_gpus(stages: tuple[StageProvenance, ...]) -> Iterator[str]:
    """Say which arms and seeds were trained on which GPUs, where models differ."""
    trained = sorted(
        {
            (stage.environment.get("gpus", ""), arm, stage.seed)
            for stage in stages
            if stage.numerics.get("device") == "cuda"
            for arm in stage.arms
        }
    )
    models = {
        model: [
            f"{display(arm)} {seeds_text(tuple(seed for *_, seed in cells))}"
            for arm, cells in groupby(group, key=lambda cell: cell[1])
        ]
        for model, group in groupby(trained, key=lambda cell: cell[0])
    }
    if len(models) > 1:
        told = "; ".join(
            f"on {display(model) or 'an unknown model'} {', '.join(arms)}"
            for model, arms in models.items()
        )
        yield (
            "Stages were trained on GPUs of different models, so that seconds, energy and memory"
            f" compare GPUs too, and other numbers differ by rounding: {told}."
        )


def _mixed_pairs(study: StudyInfo, stages: tuple[StageProvenance, ...]) -> Iterator[str]:
    """Name the pairs of which not all was computed by the same torch on the same device model."""
    made_by: dict[tuple[str, int], set[Bits]] = {}
    for stage in stages:
        bits = bits_of(stage.numerics, stage.environment)
        for arm in stage.arms if bits.torch and bits.device else ():
            made_by.setdefault((arm, stage.seed), set()).add(bits)
    mixed: dict[str, list[int]] = {}
    for (arm, seed), own in sorted(made_by.items()):
        if len(own | made_by.get((study.baseline, seed), own)) > 1 and arm != study.baseline:
            mixed.setdefault(arm, []).append(seed)
    if mixed:
        told = ", ".join(
            f"{display(arm)} under {seeds_text(tuple(seeds))}" for arm, seeds in mixed.items()
        )
        yield (
            "Pairs that were not computed alike, so that their differences hold those of torch or"
            f" of the device, too: {told}."
        )


def _source(provenance: Provenance) -> Iterator[str]:
    """Say which results come from source that was accepted as equal, or was not recorded."""
    stages = [stage for stage in provenance.stages if stage.kind in ENGINE_KINDS]
    before = sum(not stage.environment.get("source") for stage in stages)
    if before:
        yield (
            f"{before} of {len(stages)} stages were recorded before icckd recorded its own source:"
            " they are taken to be made by source of the same training version."
        )
    for changed in sorted({stage.environment.get("changed_source", "") for stage in stages} - {""}):
        made = sum(stage.environment.get("changed_source") == changed for stage in stages)
        yield (
            f"{made} of {len(stages)} stages were trained with changed source of icckd:"
            f" {display(changed, 500)}."
        )
    if provenance.accepted_source:
        made = sum(bool(s.environment.get("accepted_source")) for s in provenance.stages)
        whose = "of icckd " if len(stages) == len(provenance.stages) else ""
        yield (
            f"Changed source {whose}was accepted as giving the same numbers (--accept-code):"
            f" {display(files_text(provenance.accepted_source), 500)};"
            f" {made} of {len(provenance.stages)} stages were trained with it."
        )


# Methods: what was done, for the paper.

_MACHINE = ("cpu", "gpus", "torch", "cuda", "python")


def methods(results: "Results", study: StudyInfo) -> str:
    """Return the paragraph, one line of plain text."""
    provenance = results.provenance(study)
    rows = results.comparisons(study)
    sentences = [
        *_design(results, study),
        *_settings(study.resolved),
        *_machines(provenance),
        *_outcomes(study, rows),
        *_statistics(study, rows),
    ]
    return " ".join(sentences)


def _design(results: "Results", study: StudyInfo) -> Iterator[str]:
    others = [arm for arm in study.arms if arm.name != study.baseline]
    done = results.trial_counts(study)
    yield (
        f"We compared {len(others)} arms with the baseline {display(study.baseline)} over"
        f" {len(study.seeds)} seeds ({seeds_text(study.seeds)}); {done.complete} of {done.total}"
        " trials are complete."
    )
    if on_synthetic_data(study):
        yield "The images are synthetic."
    header = study.resolved.get("study", {})
    students = header.get("students_per_teacher", 1)
    yield (
        "In each trial a teacher was trained from scratch and distilled into"
        f" {'one student' if students == 1 else f'{students} students, which were averaged'}."
        " Initialization, data order and augmentation are functions of the seed alone, the same in"
        " every arm, so that equal seeds are pairs; the split into training, validation and test"
        " data is fixed."
    )
    for arm in others:
        changed = "; ".join(
            f"{change.path} = {json.dumps(change.after)} instead of {json.dumps(change.before)}"
            for change in arm.changes
        )
        if changed:
            yield f"Arm {display(arm.name)}: {display(changed, 1000)}."


def _settings(resolved: Mapping[str, Any]) -> Iterator[str]:
    for role in ("data", "teacher", "student"):
        table = resolved.get(role)
        if isinstance(table, dict):
            settings = ", ".join(f"{path} {json.dumps(value)}" for path, value in _flat(table))
            yield f"Settings of {role}: {display(settings, 1500)}."


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        inner = f"{path}.{name}" if path else name
        if isinstance(value, dict) and value:
            yield from _flat(value, inner)
        else:
            yield inner, value


def _machines(provenance: Provenance) -> Iterator[str]:
    teachers = sum(stage.kind == "teacher" for stage in provenance.stages)
    if not provenance.stages:
        return
    yield (
        f"Behind the results stand {teachers} trained teachers and"
        f" {len(provenance.stages) - teachers} students; arms that share a teacher share it here."
    )
    facts = dict.fromkeys(
        ", ".join(f"{name} {stage.environment[name]}" for name in _MACHINE
                  if stage.environment.get(name))
        for stage in provenance.stages
    )  # fmt: skip
    numerics = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in stage.numerics.items())
        for stage in provenance.stages
    )
    versions = dict.fromkeys(session.version for session in provenance.sessions)
    yield (
        f"They were trained by icckd {', '.join(versions)}"
        f" ({' / '.join(display(fact, 300) for fact in facts)};"
        f" {' / '.join(display(each, 200) for each in numerics)})."
    )


def _outcomes(study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    yield (
        f"The outcome that answers the question is {display(study.primary)}, taken after the last"
        " epoch; the best epoch is never chosen on test data."
    )
    lost = [row for row in rows if row.metric == study.primary and (row.diverged or row.never)]
    for row in lost:
        happened = [f"diverged under {seeds_text(row.diverged)}"] if row.diverged else []
        happened += (
            [f"never reached its target in {row.never} of {row.n} seeds"] if row.never else []
        )
        yield f"{display(row.arm)} {' and '.join(happened)}, ranked as the worst outcome."


def _statistics(study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    yield from statistics_text(study)
    if study.is_sequential:
        return
    smallest = [row.p_exact_smallest for row in rows if row.p_exact_smallest is not None]
    if smallest and study.rule == "":
        yield (
            "As a check, exact sign-flip permutation tests were computed, whose p cannot fall below"
            f" {max(smallest):.2g} here."
        )
    if study.rule == "" and study.smallest_effect is not None:
        bound = bound_text(study)
        yield f"Equivalence was tested by two one-sided t tests at 0.05 against ±{bound}."
    if any(row.bootstrap_low is not None for row in rows):
        yield "BCa bootstrap intervals (9,999 resamples) are given beside them."


# Captions of tables.


def primary_caption(results: "Results", study: StudyInfo) -> str:
    """Return the caption of the table of the primary outcome, one line of plain text."""
    done = results.trial_counts(study)
    lost = " ".join(incomplete(results, study))
    question = f"{study.question} " if study.question else ""
    rows = results.comparisons(study)
    items = " and items" if abouts(study, rows) - {""} else ""
    when, what = " after the last epoch, the test set used once", "a teacher trained anew"
    if study.has_tasks:
        when, what = "", "a run of the study's own code"
    if study.observed is not None:
        when, what = f" ({observed.rule_words(study.observed)})", "a run made elsewhere"
    return (
        f"{question}Outcome {study.primary}{when}. n counts"
        f" seeds ({seeds_text(study.seeds)}), each {what}; {done.complete} of"
        f" {done.total} trials complete{origin_suffix(study)}. SD: standard deviation over"
        f" seeds. Difference: arm minus {study.baseline} over equal seeds{items},"
        f" {caption_rule(study, rows)}"
        f" {lost}".strip()
    )


def other_caption(study: StudyInfo) -> str:
    """Return the caption of a table of other outcomes."""
    corrected = "Neither verdicts nor corrected" if study.rule else "Not corrected"
    return (
        f"Further outcomes over seeds ({seeds_text(study.seeds)}){origin_suffix(study)}: mean,"
        f" standard deviation, and mean difference from {study.baseline} over equal seeds."
        f" {corrected} for multiple comparisons."
    )


# Published numbers beside a study's own: context, never the baseline.


def published_notes(study: StudyInfo) -> Iterator[str]:
    """Yield what was published about each pair of networks of a study of CIFAR-100's classes."""
    for teacher, student in _pairs(study):
        numbers = published_for(teacher, student)
        if numbers:
            values = "; ".join(f"{texts} ({source})" for source, texts in by_source(numbers))
            yield (
                f"Published for {teacher}{SEPARATOR}{student}, as context and not as a baseline"
                f" (other code and seeds, no validation split): {values}. `icckd published` has the"
                " footnotes."
            )


def design_of(study: StudyInfo) -> Design | None:
    """Return the design of a study as planned, None where it cannot be read.

    Another version may have written it: its numbers still count.
    """
    try:
        return expand(study_in_journal(study.resolved, study.plugins))
    except (ValidationError, SpecError):
        return None


def _pairs(study: StudyInfo) -> tuple[tuple[str, str], ...]:
    """Return the pairs that the arms train, each once; none where the study cannot be read."""
    design = design_of(study)
    if design is None:
        return ()
    pairs = (_pair(method) for method in design.methods.values())
    return tuple(dict.fromkeys(pair for pair in pairs if pair is not None))


def _pair(method: Method) -> tuple[str, str] | None:
    data, teacher, student = method.data, method.teacher.model, method.student.model
    if data.kind != "cifar100" or getattr(data, "labels", "") != "fine":
        return None
    if teacher.kind != "cifar" or student.kind != "cifar":
        return None
    names = (getattr(model, "name", "") for model in (teacher, student))
    return next(names), next(names)


def by_source(numbers: Sequence[Published]) -> Iterator[tuple[str, str]]:
    """Yield each source with its reporting rule, and its numbers."""
    for source in dict.fromkeys(number.source for number in numbers):
        mine = [number for number in numbers if number.source == source]
        yield f"{source}, {epoch_text(mine[0])}", ", ".join(map(_text, mine))


def _text(number: Published) -> str:
    spread = "" if number.spread is None else f" ± {number.spread:.2f}"
    return f"{number.method} {number.top1:.2f}{spread}{'*' if number.footnote else ''}"


def epoch_text(number: Published) -> str:
    """Return which epoch a published number is of."""
    return "epoch not stated" if number.rule == "not stated" else number.rule
