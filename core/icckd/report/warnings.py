"""What a report warns of: outcomes that are valid numbers, and mislead.

Each warning says what is odd and what follows from it. `icckd.study.warnings` has those that can be
given before a study trains.
"""

import json
import math
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from icckd.report.notes import design_of
from icckd.report.strength import dwarfing_terms
from icckd.report.text import display
from icckd.results.types import StudyInfo
from icckd.study.model import Method
from icckd.study.tasks import by_name, read_back
from icckd.study.warnings import SMALL_TEST_SET, chance_level, identical_views, small_test_set

if TYPE_CHECKING:
    from icckd.results.query import Results

ERRORS_ABOVE_CHANCE = 3
"""Standard errors within which an accuracy counts as that of guessing."""
UNKNOWN_TEST_SET = 400
"""Test images taken for a test set whose size no journal tells."""


def report_warnings(results: "Results", study: StudyInfo) -> list[str]:
    """Return the warnings of a report, in order."""
    methods = {} if (design := design_of(study)) is None else design.methods
    images = results.test_images(study)
    return [
        *_at_chance(results, study, methods, images),
        *([small_test_set(images)] if images and images < SMALL_TEST_SET else []),
        *dict.fromkeys(filter(None, map(identical_views, methods.values()))),
        *_never_reached(results, study),
        *_unused_seed(results, study),
        *dwarfing_terms(results, study),
    ]


def _at_chance(
    results: "Results", study: StudyInfo, methods: Mapping[str, Method], images: int | None
) -> Iterator[str]:
    classes = {arm.name: _classes(results, study, arm.name, methods) for arm in study.arms}
    for kind in study.kinds:
        values = results.values(study, f"{kind}.top1")
        guessing = {
            arm: fmean(by_seed.values())
            for arm, by_seed in values.items()
            if by_seed and fmean(by_seed.values()) <= _guessed(classes.get(arm), images)
        }
        if not guessing:
            continue
        count = classes[next(iter(guessing))] or 0
        reached = ", ".join(f"{display(arm)} {value:.1f} %" for arm, value in guessing.items())
        yield (
            f"{kind}.top1 is at chance level ({chance_level(count):.3g} % with {count} classes):"
            f" {reached}. Such a {kind} has learnt nothing that the test set shows"
            f"{_consequence(kind, study.baseline, guessing)}."
        )


def _consequence(kind: str, baseline: str, guessing: Mapping[str, float]) -> str:
    if baseline in guessing and len(guessing) > 1:
        return (
            f": a difference between two {kind}s at chance, or none, says nothing about the part;"
            " verdicts on them are void"
        )
    if kind == "teacher":
        return ", and its students were taught noise"
    return "; a difference from it is one from guessing"


def _guessed(classes: int | None, images: int | None) -> float:
    """Return the accuracy up to which a model counts as guessing; below 0 where it is unknown."""
    if not classes:
        return -1.0
    chance = chance_level(classes)
    error = math.sqrt(chance * (100 - chance) / (images or UNKNOWN_TEST_SET))
    return chance + ERRORS_ABOVE_CHANCE * error


def _classes(
    results: "Results", study: StudyInfo, arm: str, methods: Mapping[str, Method]
) -> int | None:
    """Return the number of classes of an arm's data: by its settings, else by a trained model."""
    declared = methods[arm].data.class_count() if arm in methods else None
    if declared is not None:
        return declared
    for stage in results.provenance(study).stages:
        if arm in stage.arms:
            about = results.folder.artifacts / stage.stage / "model.json"
            try:
                found = json.loads(about.read_bytes())["n_classes"]
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                return None
            return found if type(found) is int and 0 < found < 1 << 20 else None
    return None


def _unused_seed(results: "Results", study: StudyInfo) -> Iterator[str]:
    """Warn of the user's own code whose declared numbers are the same under every seed."""
    if not study.has_tasks:
        return
    declared = [
        f"{kind}.{name}"
        for kind, task in by_name(read_back(study.resolved)).items()
        for name in task.metrics
    ]
    for arm in study.arms:
        found = [results.values(study, metric).get(arm.name, {}) for metric in declared]
        known = [set(by_seed.values()) for by_seed in found if by_seed]
        runs = max(map(len, found), default=0)
        if runs > 1 and all(len(values) == 1 for values in known):
            yield (
                f"every run of {display(arm.name)} gave the same numbers, whatever its seed: where"
                " the code does not use the seed, n counts one run many times, and intervals and"
                f" verdicts say nothing.{'' if study.observed else ' icckd check STUDY looks.'}"
            )
            return


def _never_reached(results: "Results", study: StudyInfo) -> Iterator[str]:
    for kind in study.kinds:
        metric = f"{kind}.convergence"
        rows = [row for row in results.comparisons(study) if row.metric == metric and row.n]
        if not rows or any(row.never < row.n for row in rows):
            continue
        target = study.convergence_target(kind)
        best = [
            float(curve.values_SE[curve.values_SE == curve.values_SE].max(initial=0.0))
            for curve in results.curves(study, f"{kind}.val_top1")
        ]
        seen = f" (the best was {max(best):.1f} %)" if best else ""
        yield (
            f"{metric}: no seed of any arm reached the target of {target:g} % validation"
            f" accuracy{seen}, so every value is infinite and none differs from another; set"
            f" [study.convergence] {kind} to what the baseline reaches."
        )
