"""A methods paragraph: what was actually done, for the paper."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from icckd.report.notes import bound_text, seeds_text
from icckd.report.text import display
from icckd.results.provenance import Provenance
from icckd.results.read import Results
from icckd.results.synthetic import on_synthetic_data
from icckd.results.types import Comparison, StudyInfo

_MACHINE = ("cpu", "gpus", "torch", "cuda", "python")


def methods(results: Results, study: StudyInfo) -> str:
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


def _design(results: Results, study: StudyInfo) -> Iterator[str]:
    others = [arm for arm in study.arms if arm.name != study.baseline]
    done = results.progress(study).trials
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
        told = [f"diverged under {seeds_text(row.diverged)}"] if row.diverged else []
        told += [f"never reached its target in {row.never} of {row.n} seeds"] if row.never else []
        yield f"{display(row.arm)} {' and '.join(told)}, ranked as the worst outcome."


def _statistics(study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    holm = f"adjusted by Holm's method over the {len(study.family)} arms of the declared family"
    bound = "" if study.smallest_effect is None else f" ±{bound_text(study)}"
    if study.is_sequential:
        added = f" because {seeds_text(study.added)} were added later" if study.added else ""
        yield (
            "Paired differences are given with 95 % confidence sequences for normal data of unknown"
            f" variance (normal mixture, standardized effect {study.sequential_effect:g}), valid at"
            f" every number of seeds{added}; p values are their anytime-valid counterparts, {holm}."
        )
        if bound:
            yield f"Equivalence means that the whole confidence sequence lies within{bound}."
        return
    yield (
        "Paired differences are given with 95 % intervals of Student's t and two-sided paired t"
        f" tests, {holm}; effect sizes are Cohen's d_z with Hedges' correction."
    )
    smallest = [row.p_exact_smallest for row in rows if row.p_exact_smallest is not None]
    if smallest:
        yield (
            "As a check, exact sign-flip permutation tests were computed, whose p cannot fall below"
            f" {max(smallest):.2g} here."
        )
    if bound:
        yield f"Equivalence was tested by two one-sided t tests at 0.05 against{bound}."
    if any(row.bootstrap_low is not None for row in rows):
        yield "BCa bootstrap intervals (9,999 resamples) are given beside them."
