"""Observed trials: runs that were made elsewhere, as a study. Pure: no files, no database.

    runs (arm, seed, values, series)  ->  observed_study  ->  arms, trials, stages, questions

A study of observed trials has one stage a trial, of the kind `observed`. Its numbers are declared
as the metrics of a task are, under the names `observed.NAME`. icckd has started none of these runs:
what it knows of them is which file, row or run each number was read from.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from icckd.errors import SpecError
from icckd.study.arms import refuse_effect_below_an_image
from icckd.study.metrics import Direction, Metric
from icckd.study.paths import nearest
from icckd.study.plan import digest_of
from icckd.study.records import Arm, Hypothesis, Stage, Trial
from icckd.study.tasks import Task, TaskMetric

KIND = "observed"
LONGEST_ARM = 128
LAST_SEED = 2**53
MOST_ARMS = 1000
MOST_RUNS = 20_000
CHOSEN_BY_SEARCH = "optuna"
"""The kind of source whose runs a search chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemColumns:
    """Scores of single items, such as questions, of a run: in the order of their ids.

    `groups` has what each shares with others that err with it; empty where nothing tells it.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One observed run: an arm under a seed.

    Attributes:
        arm, seed: Which trial it is.
        values: The one value of each metric, by the reporting rule; NaN or infinite where the run
            diverged. A metric without a value is left out.
        places: Where each value was read, such as "row 7".
        series: Values by step of each metric that is a curve, ascending, perhaps thinned.
        items: By metric, the scores that its value is the mean of, where these were read.
    """

    arm: str
    seed: int
    values: Mapping[str, float]
    places: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    items: Mapping[str, ItemColumns] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedMetric:
    """A metric of observed runs: what it is called where it was read, and what it means.

    `is_outcome` is false for the validation metric that only chooses the step; `test_images` says
    of how many test cases it is the share, in percent, that the model got right.
    """

    name: str
    unit: str = "1"
    direction: Direction = "none"
    is_outcome: bool = True
    test_images: int | None = None

    @property
    def declared(self) -> str:
        """The name below `observed.` under which icckd knows it."""
        return metric_key(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of observed runs.

    Attributes:
        name: Name of the study.
        metrics: The metrics, the primary one first.
        baseline: The arm that others are compared with; "" takes the first one.
        question: The study's question.
        rule: "last", "best:METRIC", or "" where single values do not tell by which rule they were
            taken.
        smallest_effect: Smallest difference of the primary metric that matters, in its unit.
        adds: Arms that have a part which the baseline lacks; others lack one that it has.
        generalise_to, common_items: As in a study file, where runs tell items.
    """

    name: str
    metrics: tuple[AskedMetric, ...]
    baseline: str = ""
    question: str = ""
    rule: str = ""
    smallest_effect: float | None = None
    adds: tuple[str, ...] = ()
    generalise_to: tuple[str, ...] = ()
    common_items: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that runs were read from: its harmless name, SHA-256, and size in bytes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where observed runs come from.

    Attributes:
        kind: What wrote the files: csv, parquet, wandb, mlflow, tensorboard, optuna, trackio.
        name: Name of the file or folder that was given.
        files: The files, in order.
        arm, seed: What told arm and seed of a run, such as the column `method`.
        notes: What a reader must know of how they were read, each a sentence.
    """

    kind: str
    files: tuple[SourceFile, ...]
    name: str = ""
    arm: str = "arm"
    seed: str = "seed"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a journal tells of the runs of a study: that they were made elsewhere, and where read.

    `fields` are those of `Source`; `rule` is the reporting rule.
    """

    source: Source
    rule: str

    @property
    def file_names(self) -> str:
        """The files in one phrase."""
        count = len(self.source.files)
        if count == 1:
            return self.source.files[0].name
        return f"{self.source.name} ({count} files)" if count else "a table"

    @property
    def is_chosen_by_search(self) -> bool:
        """Whether a search chose what ran, by the results of earlier runs."""
        return self.source.kind == CHOSEN_BY_SEARCH


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTrial:
    """A run with the stage that stands for it."""

    run: Run
    stage: Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedStudy:
    """A study of observed trials; `resolved` is what journals hold of it as the study."""

    name: str
    revision: str
    resolved: dict[str, Any]
    arms: tuple[Arm, ...]
    hypotheses: tuple[Hypothesis, ...]
    trials: tuple[ObservedTrial, ...]
    outcomes: tuple[str, ...]
    family: tuple[str, ...]

    @property
    def planned(self) -> tuple[Trial, ...]:
        """The trials as records of a plan."""
        return tuple(
            Trial(arm=t.run.arm, seed=t.run.seed, stages=(t.stage.digest,)) for t in self.trials
        )


def observed_study(runs: Iterable[Run], asked: Asked, source: Source) -> ObservedStudy:
    """Return the study of some runs: arms in the order in which they come, the baseline first.

    Raises:
        SpecError: There are too few or too many runs or arms, two of one arm and seed, or baseline,
            direction or smallest effect do not fit.
    """
    found = _unique(runs)
    names = list(dict.fromkeys(run.arm for run in found))
    if len(names) < 2:
        only = f": all are of {names[0]!r}" if names else ""
        raise SpecError(
            f"an ablation needs runs of two arms at least{only}",
            hint=f"is {source.arm!r} what tells the arms apart?",
        )
    if len(names) > MOST_ARMS:
        raise SpecError(
            f"{len(names)} arms are more than {MOST_ARMS}",
            hint=f"is {source.arm!r} what tells the arms apart?",
        )
    baseline = asked.baseline or names[0]
    for name in (baseline, *asked.adds):
        if name not in names:
            raise SpecError(f"no run is of arm {name!r}", hint=nearest(name, names))
    names.sort(key=lambda name: name != baseline)
    _check_metrics(asked)
    _check_shares(asked, found)
    keys = {metric.name: metric.declared for metric in asked.metrics}
    trials = [_trial(run, keys) for run in found]
    trials.sort(key=lambda each: (each.run.seed, names.index(each.run.arm)))
    arms = tuple(_arm(name, baseline, asked.adds) for name in names)
    family = tuple(arm.name for arm in arms if arm.name != baseline)
    outcomes = tuple(f"{KIND}.{m.declared}" for m in asked.metrics if m.is_outcome)
    resolved = _resolved(asked, source, baseline, outcomes, family, trials)
    stages = sorted(each.stage.digest for each in trials)
    return ObservedStudy(
        name=asked.name,
        revision=digest_of({"study": resolved, "stages": stages})[:16],
        resolved=resolved,
        arms=arms,
        hypotheses=tuple(
            Hypothesis(arm=arm, metric=outcomes[0], smallest_effect=asked.smallest_effect)
            for arm in family
        ),
        trials=tuple(trials),
        outcomes=outcomes,
        family=family,
    )


def _check_shares(asked: Asked, runs: Sequence[Run]) -> None:
    """Refuse a share of test cases whose values are no percentages, or an effect below one case."""
    for metric in asked.metrics:
        if metric.test_images is None:
            continue
        values = [run.values[metric.name] for run in runs if metric.name in run.values]
        known = [value for value in values if math.isfinite(value)]
        if known and (min(known) < 0 or max(known) > 100 or 0 < max(known) <= 1):
            raise SpecError(
                f"{metric.name!r} has values from {min(known):g} to {max(known):g}: a share of"
                " test cases is wanted in percent",
                hint="multiply fractions by 100",
            )
    primary = asked.metrics[0]
    if primary.test_images is not None:
        name = f"{KIND}.{primary.declared}"
        bound = asked.smallest_effect
        counted = Metric(name=name, unit="%", direction="higher", about="", counts="test images")
        question = Hypothesis(arm="each", metric=name, smallest_effect=bound)
        refuse_effect_below_an_image(question, counted, primary.test_images)


def _unique(runs: Iterable[Run]) -> list[Run]:
    found: dict[tuple[str, int], Run] = {}
    for run in runs:
        if found.setdefault((run.arm, run.seed), run) is not run:
            raise SpecError(
                f"two runs are of arm {run.arm!r} and seed {run.seed}",
                hint="keep the one that counts",
            )
        if len(found) > MOST_RUNS:
            raise SpecError(
                f"there are more than {MOST_RUNS} runs (pairs of arm and seed)",
                hint="import them in parts, or name other columns for arm and seed",
            )
    return list(found.values())


def _check_metrics(asked: Asked) -> None:
    primary = asked.metrics[0]
    if primary.direction == "none":
        raise SpecError(
            f"which values of {primary.name!r} are better is not known",
            hint=f"--direction {primary.name}=higher, or lower",
        )
    keys: dict[str, str] = {}
    for metric in asked.metrics:
        other = keys.setdefault(metric.declared, metric.name)
        if other != metric.name:
            raise SpecError(
                f"metrics {other!r} and {metric.name!r} are both {metric.declared!r} to icckd",
                hint="rename one of them where it was written",
            )


def _trial(run: Run, keys: Mapping[str, str]) -> ObservedTrial:
    values = {keys[name]: value for name, value in run.values.items()}
    places = {keys[name]: place for name, place in run.places.items()}
    series = {keys[name]: tuple(points) for name, points in run.series.items()}
    items = {keys[name]: columns for name, columns in run.items.items()}
    known = replace(run, values=values, places=places, series=series, items=items)
    content = {
        "kind": KIND,
        "arm": run.arm,
        "seed": run.seed,
        "values": {name: repr(value) for name, value in sorted(values.items())},
        "series": {n: [[s, repr(v)] for s, v in points] for n, points in sorted(series.items())},
    }
    if items:
        content["items"] = {
            name: [list(c.ids), list(c.groups), [repr(score) for score in c.scores]]
            for name, c in sorted(items.items())
        }
    last = max((points[-1][0] for points in series.values() if points), default=0)
    stage = Stage(
        digest=digest_of(content),
        kind=KIND,
        shape=digest_of({"kind": KIND})[:16],
        seed=run.seed,
        replicate=0,
        epochs=last,
        inputs={},
    )
    return ObservedTrial(run=known, stage=stage)


def _arm(name: str, baseline: str, adds: Sequence[str]) -> Arm:
    is_baseline = name == baseline
    return Arm(
        name=name,
        role="baseline" if is_baseline else "ablation",
        title="",
        action="ADD" if name in adds and not is_baseline else "",
        control_for=None,
        changes=(),
    )


def _resolved(  # what it is made of
    asked: Asked,
    source: Source,
    baseline: str,
    outcomes: Sequence[str],
    family: Sequence[str],
    trials: Sequence[ObservedTrial],
) -> dict[str, Any]:
    task = Task(
        entry=f"icckd.imports:{source.kind}",
        metrics={
            m.declared: TaskMetric(
                unit=m.unit,
                direction=m.direction,
                about=f"read as {m.name!r} from {source.kind} files" if m.name else "",
                test_images=m.test_images,
            )
            for m in asked.metrics
        },
    )
    seeds = sorted({each.run.seed for each in trials})
    return {
        "study": {
            "name": asked.name,
            "question": asked.question,
            "baseline": baseline,
            "primary": outcomes[0],
            "metrics": list(outcomes[1:]),
            "seeds": seeds if len(seeds) <= 1000 else [seeds[0], seeds[-1]],
            "smallest_effect": asked.smallest_effect,
            **({"generalise_to": list(asked.generalise_to)} if asked.generalise_to else {}),
            **({"items": "common"} if asked.common_items else {}),
        },
        "task": {KIND: task.model_dump(mode="json", exclude_defaults=True)},
        KIND: {
            "kind": source.kind,
            "name": source.name,
            "files": [
                {"name": file.name, "sha256": file.sha256, "bytes": file.bytes}
                for file in source.files
            ],
            "arm": source.arm,
            "seed": source.seed,
            "rule": asked.rule,
            "notes": list(source.notes),
        },
        "outcomes": list(outcomes),
        "family": list(family),
    }


def read_observed(resolved: Mapping[str, Any]) -> Observed | None:
    """Return what a journal tells of observed runs; None for a study that icckd runs."""
    table = resolved.get(KIND)
    if not isinstance(table, Mapping):
        return None
    files = table.get("files")
    return Observed(
        source=Source(
            kind=str(table.get("kind", "")),
            name=str(table.get("name", "")),
            files=tuple(
                SourceFile(
                    name=str(file.get("name", "")),
                    sha256=str(file.get("sha256", "")),
                    bytes=size if isinstance(size := file.get("bytes"), int) else 0,
                )
                for file in (files if isinstance(files, list) else ())
                if isinstance(file, Mapping)
            ),
            arm=str(table.get("arm", "")),
            seed=str(table.get("seed", "")),
            notes=tuple(str(note) for note in table.get("notes") or ()),
        ),
        rule=str(table.get("rule", "")),
    )


# Names, which come from files that nobody has looked at.

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_APART = str.maketrans({"/": "-", ":": "-", "@": "-", ",": " ", "(": " ", ")": " "})
"""What stands between names where an arm is named: `STUDY@REV:ARM/SEED`, `diff(ARM, METRIC)`."""


def visible(text: str, limit: int = 200) -> str:
    r"""Return a text on one line without control, escape and direction characters.

    >>> visible("a\x1b[31m\u202eb\n c")
    'a[31mb c'
    """
    text = text[: 4 * limit]
    if text.isprintable():
        return " ".join(text.split())[:limit]
    kept = "".join(
        " " if c.isspace() else c
        for c in text
        if c.isspace() or unicodedata.category(c) not in _INVISIBLE
    )
    return " ".join(kept.split())[:limit]


def arm_name(text: str) -> str:
    """Return a text as the name of an arm, "" where nothing is left of it.

    >>> arm_name("w/o  cache"), arm_name("KD (no filter)")
    ('w-o cache', 'KD no filter')
    """
    return " ".join(visible(text, 1000).translate(_APART).split()).strip("- ")[:LONGEST_ARM]


def metric_key(text: str) -> str:
    """Return a text as the name of a declared metric: letters, digits, _ - and /.

    >>> metric_key("val.acc@1"), metric_key("eval/acc"), metric_key("5-shot")
    ('val_acc_1', 'eval/acc', 'm_5-shot')
    """
    kept = re.sub(r"[^A-Za-z0-9_/-]+", "_", text).strip("_/-")
    return (kept if re.match(r"[A-Za-z]", kept) else f"m_{kept}")[:64]


def study_name(text: str) -> str:
    """Return a text as the name of a study.

    >>> study_name("My Runs (final)"), study_name("...")
    ('my-runs-final', 'imported')
    """
    kept = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return kept[:64] or "imported"
