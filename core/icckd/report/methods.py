"""A methods paragraph and threats to validity, made from the study, its journals and its rule."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icckd.report import notes, observed
from icckd.report.item_text import abouts
from icckd.report.rule_text import statistics_text, unit_of
from icckd.report.text import display, seeds_text
from icckd.results.bits import mixed_note
from icckd.results.types import Comparison, StudyInfo, on_synthetic_data
from icckd.stats.fixed import LEAST_PAIRS
from icckd.stats.power import detectable_effect, student
from icckd.stats.two_stage import first_share
from icckd.study.tasks import by_name, command_text, leaves, read_back

if TYPE_CHECKING:
    from icckd.results.query import Results

_MACHINE = ("cpu", "gpus", "torch", "cuda", "python")
_OFF: tuple[Any, ...] = (None, "off", "", [], {})


def methods(results: "Results", study: StudyInfo) -> str:
    """Return what was done: data, split, seeds, pairing, settings, tests, versions, hardware."""
    if study.rule == "":
        return notes.methods(results, study)
    if study.observed is not None:
        return " ".join([
            *observed.methods(results, study, study.observed),
            *statistics_text(study),
            *_further(study),
        ])  # fmt: skip
    if study.has_tasks:
        return " ".join([
            *_of_tasks(results, study),
            *_arms(study),
            *statistics_text(study, results.comparisons(study)),
            *_further(study),
            *_task_machines(results, study),
        ])  # fmt: skip
    return " ".join([
        *_data(results, study),
        *_trials(results, study),
        *_settings(study.resolved),
        *notes.of_plugins(results, study),
        *_arms(study),
        *statistics_text(study),
        *_further(study),
        *_machines(results, study),
    ])  # fmt: skip


# Studies of the user's own code: icckd knows what it started and what that reported.


def _of_tasks(results: "Results", study: StudyInfo) -> Iterator[str]:
    done = results.trial_counts(study)
    tasks = by_name(read_back(study.resolved))
    what = "; ".join(f"{name}: {display(command_text(task), 300)}" for name, task in tasks.items())
    yield (
        f"Under each of {len(study.seeds)} seeds ({seeds_text(study.seeds)}) every arm ran the"
        f" study's own code ({what}); {done.complete} of {done.total} trials are complete. Every"
        " run got the settings of its arm and the seed, in a folder of its own."
    )
    for name, task in tasks.items():
        settings = ", ".join(f"{path} {value}" for path, value in leaves(task.config))
        if settings:
            yield f"Settings of {name}: {display(settings, 1500)}."
    yield f"{notes.claims_of(results, study)}. n counts seeds."
    for metric in dict.fromkeys([*(q.metric for q in study.questions), *study.metrics]):
        known = study.declared.get(metric)
        if known is not None and known.about:
            yield f"{display(metric)} is {display(known.about, 300)}."


def _task_machines(results: "Results", study: StudyInfo) -> Iterator[str]:
    provenance = results.provenance(study)
    if not provenance.stages:
        return
    facts = dict.fromkeys(
        ", ".join(f"{name} {stage.environment[name]}" for name in ("cpu", "python")
                  if stage.environment.get(name))
        for stage in provenance.stages
    )  # fmt: skip
    versions = dict.fromkeys(session.version for session in provenance.sessions)
    files = dict.fromkeys(
        f"{name} ({digest[:12]})"
        for stage in provenance.stages
        for name, digest in stage.files.items()
    )
    yield (
        f"Run by icckd {', '.join(versions)} ({' / '.join(display(f, 300) for f in facts)}) with"
        f" {display(', '.join(files), 600) or 'a command that names no file'}."
    )


def _data(results: "Results", study: StudyInfo) -> Iterator[str]:
    data = study.resolved.get("data", {})
    known = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in data.items()
        if name not in ("kind", "augment") and value not in _OFF
    )
    images = " (synthetic, drawn from a formula)" if on_synthetic_data(study) else ""
    yield f"Data: {display(str(data.get('kind', 'unknown')))}{images}, {display(known, 300)}."
    tested = {len(hits) for arms in results.right(study).values() for seeds in arms.values()
              for models in seeds.values() for hits in models}  # fmt: skip
    count = f" of {max(tested):,} images" if len(tested) == 1 else ""
    yield (
        "The split into training, validation and test images is the same for every arm and seed;"
        f" the test set{count} was used once, after the last epoch, and nothing was chosen by it."
    )


def _trials(results: "Results", study: StudyInfo) -> Iterator[str]:
    done = results.trial_counts(study)
    students = study.resolved.get("study", {}).get("students_per_teacher", 1)
    what = "one student" if students == 1 else f"{students} students, which were averaged"
    yield (
        f"Under each of {len(study.seeds)} seeds ({seeds_text(study.seeds)}) every arm trained a"
        f" teacher from scratch and distilled it into {what}; {done.complete} of {done.total}"
        " trials are complete. Initialization, data order and augmentation are functions of the"
        " seed alone, so that equal seeds are pairs, and n counts seeds."
    )


def _settings(resolved: Mapping[str, Any]) -> Iterator[str]:
    """Yield how teacher and student were trained, in a sentence each."""
    for role in ("teacher", "student"):
        table = resolved.get(role)
        if not isinstance(table, dict):
            continue
        training = table.get("training", {})
        optimizer = training.get("optimizer", {})
        schedule = training.get("schedule", {})
        epochs = training.get("epochs")
        yield (
            f"The {role} ({_part(table.get('model'))}) was trained for {epochs}"
            f" epoch{'' if epochs == 1 else 's'} in batches of {training.get('batch_size')} by"
            f" {display(str(_kind(optimizer)))} (lr {training.get('lr')}, weight decay"
            f" {training.get('weight_decay')}, {display(str(_kind(schedule)))} schedule)"
            f"{_losses(table)}."
        )


def _kind(table: Any) -> Any:
    return table.get("kind", "unknown") if isinstance(table, dict) else table


def _losses(table: Mapping[str, Any]) -> str:
    """Return the losses and the distiller that are on."""
    parts = [
        f"{name} {_part(value)}"
        for name, value in table.items()
        if name not in ("model", "training") and isinstance(value, dict)
    ]
    return f", with {'; '.join(parts)}" if parts else ""


def _part(table: Any) -> str:
    """Return a table of settings in words, without what is off."""
    if not isinstance(table, dict):
        return display(str(table))
    told = [
        f"{name.replace('_', ' ')} {_part(value) if isinstance(value, dict) else value}"
        for name, value in table.items()
        if name != "kind" and value not in _OFF
    ]
    kind = [str(table["kind"])] if "kind" in table else []
    return display(" ".join([*kind, *([f"({', '.join(told)})"] if told else [])]), 400)


def _arms(study: StudyInfo) -> Iterator[str]:
    for arm in study.arms:
        changed = "; ".join(f"{c.path} = {c.after} instead of {c.before}" for c in arm.changes)
        if arm.name != study.baseline and changed:
            yield f"Arm {display(arm.name)} ({notes.arm_label(arm)}): {display(changed, 600)}."


def _further(study: StudyInfo) -> Iterator[str]:
    asked = {each.metric for each in study.questions}
    others = [display(metric) for metric in study.metrics if metric not in asked]
    if others:
        yield (
            f"Further outcomes ({', '.join(others)}) were corrected by Holm's method among"
            " themselves and are no verdicts."
        )


def _machines(results: "Results", study: StudyInfo) -> Iterator[str]:
    provenance = results.provenance(study)
    if not provenance.stages:
        return
    facts = dict.fromkeys(
        ", ".join(f"{name} {stage.environment[name]}" for name in _MACHINE
                  if stage.environment.get(name))
        for stage in provenance.stages
    )  # fmt: skip
    versions = dict.fromkeys(session.version for session in provenance.sessions)
    precision = dict.fromkeys(
        f"{stage.numerics.get('device')}, {stage.numerics.get('precision')}"
        for stage in provenance.stages
    )
    data = dict.fromkeys(stage.fingerprint[:12] for stage in provenance.stages)
    yield (
        f"Trained by icckd {', '.join(versions)} ({' / '.join(display(f, 300) for f in facts)};"
        f" {' / '.join(map(display, precision))}) on data with fingerprint {', '.join(data)}."
    )


# Threats to validity.


def threats(results: "Results", study: StudyInfo) -> tuple[str, ...]:
    """Return what a reader may hold against the answers, each in a sentence or two."""
    rows = results.comparisons(study)
    return (
        *_one_split(results, study),
        *_few_seeds(study, rows),
        *_shape(study),
        *_strength(study),
        *notes.of_plugins(results, study),
        *_missing(results, study),
        *filter(None, [mixed_note(results.mixed_bits(study))]),
    )


def _one_split(results: "Results", study: StudyInfo) -> Iterator[str]:
    if study.observed is not None:
        yield from observed.threats(study, study.observed)
        yield from _unknown_counts(results, study)
        return
    if study.has_tasks:
        yield f"{notes.claims_of(results, study)}."
        yield _spoken_about(study, results.comparisons(study))
        yield from _unknown_counts(results, study)
        yield _SHARED
        return
    kind = display(str(study.resolved.get("data", {}).get("kind", "one data set")))
    yield (
        f"One data set ({kind}) and one split: the results speak about the randomness of training"
        " on it, not about other images, other data or larger networks."
    )
    if on_synthetic_data(study):
        yield "The images are synthetic; effects on them need not occur on photographs."
    yield _SHARED


def _unknown_counts(results: "Results", study: StudyInfo) -> Iterator[str]:
    for metric in dict.fromkeys(each.metric for each in study.questions):
        is_share = study.metric(metric).unit == "%" and study.metric(metric).images is None
        if is_share and metric not in results.items(study):
            yield (
                f"Of how many test cases {display(metric)} is a share is not declared"
                " (test_images): where it moves in steps, equal differences of few seeds look"
                " more certain than they are."
            )


def _spoken_about(study: StudyInfo, rows: Sequence[Comparison]) -> str:
    found = abouts(study, rows)
    if found == {"items"}:
        return (
            "The results speak about items like those that were asked, under the seeds that were"
            " run: not about other trainings, other kinds of items or implementations."
        )
    of_items = ", and about items like those that were asked" if found - {""} else ""
    return (
        f"The results speak about the randomness that the seeds of this code decide{of_items}, on"
        " the data that it read, not about other data or implementations."
    )


_SHARED = (
    "All arms share the hyperparameters of the baseline: an arm that would profit from its own is"
    " not given them."
)


def _few_seeds(study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    asked = {(each.arm, each.metric): each for each in study.questions}
    for row in rows:
        question = asked.get((row.arm, row.metric))
        if question is None or not row.difference_spread or row.pairs < LEAST_PAIRS:
            continue
        boundary = student(row.level or study.level)
        found = detectable_effect(row.pairs, boundary)
        if found is not None and not study.is_sequential:
            yield (
                f"{display(row.arm)}: with {row.pairs} pairs and this spread a true difference in"
                f" {display(row.metric)} of {found * row.difference_spread:.2g}"
                f"{unit_of(study, row.metric)} is found with power 0.8; smaller ones are missed"
                " more often."
            )
    undecided = [
        f"{display(r.arm)} in {display(r.metric)}"
        for r in rows
        if (r.arm, r.metric) in asked and r.verdict == "undecided"
    ]
    if undecided:
        yield f"Not decided, which is no evidence of no effect: {', '.join(undecided)}."
    first = len(study.seeds) - len(study.added)
    if study.looks == "two looks" and first_share(first):
        yield "After two looks the mean of all seeds is slightly too large on average."


def _shape(study: StudyInfo) -> Iterator[str]:
    yield (
        "The tests hold for paired differences that are about symmetric; an arm that fails now and"
        " then by a lot has a long tail, and then errors are more frequent than stated."
    )
    others = len(study.metrics) - len({each.metric for each in study.questions})
    if others:
        yield f"{others} further outcomes were looked at: findings there are leads, no verdicts."


def _strength(study: StudyInfo) -> Iterator[str]:
    """Say which ablations have no control of equal strength."""
    if study.has_tasks:
        return
    matched = {arm.control_for for arm in study.arms if arm.role == "control"}
    alone = [display(name) for name in study.family if name not in matched]
    if alone:
        yield (
            f"No control of equal strength stands beside {', '.join(alone)}: what is taken away and"
            " how strong the remaining loss is are not told apart there."
        )


def _missing(results: "Results", study: StudyInfo) -> Iterator[str]:
    for text in notes.incomplete(results, study):
        yield f"Missing: {text}"
