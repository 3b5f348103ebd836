"""Arms and trials chosen by `[STUDY[@REVISION]:]ARM[/SEED]`: how they differ, what they reached."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from icckd.errors import UsageError
from icckd.results.compare import compare_pairs
from icckd.results.pairing import ArmValues, arm_values, pair, pair_arms
from icckd.results.query import Results
from icckd.results.types import Comparison, StudyInfo
from icckd.study.paths import Change, changes, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """An arm of a study, or one trial of it when `seed` is set.

    `by_revision` says that the revision was named, not chosen.
    """

    study: StudyInfo
    arm: str
    seed: int | None
    by_revision: bool = False

    @property
    def name(self) -> str:
        """Study, arm and seed in one word, with the revision where it was named."""
        seed = "" if self.seed is None else f"/{self.seed}"
        revision = f"@{self.study.revision}" if self.by_revision else ""
        return f"{self.study.name}{revision}:{self.arm}{seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConditions:
    """What equal seeds must share to be pairs: data, numerics, code; each value seen."""

    fingerprints: frozenset[str]
    numerics: frozenset[str]
    code_epochs: frozenset[int]


def select(
    results: Results, text: str, study: str | None = None, *, newest: bool = False
) -> Selection:
    """Return what `[STUDY[@REVISION]:]ARM[/SEED]` names.

    Args:
        results: Where it is looked for.
        text: What was typed.
        study: The study's name where the text has none; without both, the one planned last.
        newest: Whether a study whose revision is not named stands for its newest revision, and
            not for the one that reports show.

    Raises:
        UsageError: There is no such study, revision, arm or seed.
    """
    place, _, rest = text.rpartition(":")
    name, at, revision = place.partition("@")
    chosen = results.study if newest else results.reported
    info = results.revision(name or study, revision) if at else chosen(name or study)
    arm, _, seed = rest.partition("/")
    names = _names(info)
    if arm not in names:
        other = next((r for r in results.revisions(info.name) if arm in _names(r)), None)
        hint = nearest(arm, names)
        if other is not None:
            hint = (
                f"an earlier revision has it: icckd compare {info.name}@{other.revision}:{arm} ..."
            )
        raise UsageError(f"study {info.name!r} has no arm {arm!r}", hint=hint)
    number = seed.removeprefix("s")
    if seed and not (number.isdecimal() and int(number) in info.seeds):
        raise UsageError(
            f"arm {arm!r} has no seed {seed!r}", hint=f"seeds: {info.seeds[0]} to {info.seeds[-1]}"
        )
    return Selection(study=info, arm=arm, seed=int(number) if seed else None, by_revision=bool(at))


def _names(study: StudyInfo) -> list[str]:
    return [arm.name for arm in study.arms]


def settings_of(results: Results, selection: Selection) -> dict[str, Any]:
    """Return the settings that the newest attempts of a selection's first trial trained with."""
    seeds = selection.study.seeds if selection.seed is None else (selection.seed,)
    for seed in seeds:
        attempts = results.attempts(selection.study, selection.arm, seed)
        if attempts:
            return {key: value for a in attempts for key, value in a.settings.items()}
    return {}


def stages_of(results: Results, selection: Selection) -> dict[tuple[str, int, int], str]:
    """Return the digests of a selection's complete stages, by kind, seed and replicate."""
    return {
        (stage.kind, stage.seed, stage.replicate): stage.stage
        for stage in results.provenance(selection.study).stages
        if selection.arm in stage.arms and selection.seed in (None, stage.seed)
    }


def conditions_of(results: Results, selection: Selection) -> TrainingConditions:
    """Return the conditions that a selection's results were trained under."""
    rows = [s for s in results.provenance(selection.study).stages if selection.arm in s.arms]
    return TrainingConditions(
        fingerprints=frozenset(row.fingerprint for row in rows),
        numerics=frozenset(str(sorted(row.numerics.items())) for row in rows),
        code_epochs=frozenset(row.code_epoch for row in rows),
    )


def setting_changes(results: Results, first: Selection, second: Selection) -> tuple[Change, ...]:
    """Return the settings in which two selections differ, from what their stages trained with."""
    before, after = settings_of(results, first), settings_of(results, second)
    return tuple(
        Change(path=change.path, before=change.before, after=change.after)
        for change in changes(before, after)
    )


def compare_selections(
    results: Results, selections: Sequence[Selection], metrics: Sequence[str]
) -> dict[tuple[str, str], Comparison]:
    """Return each selection on each metric, against the first over the seeds that both have."""
    return {
        (selection.name, metric): _compare(results, selection, selections[0], metric)
        for selection in selections
        for metric in metrics
    }


def rule_of(selection: Selection, first: Selection) -> StudyInfo:
    """Return the study whose rule the comparison of two selections follows.

    Where seeds of either were added after looking, only the rule for repeated looks is valid.
    """
    has_looked = first.study.is_sequential or bool(first.study.added)
    return first.study if has_looked else selection.study


def _compare(results: Results, selection: Selection, first: Selection, metric: str) -> Comparison:
    mine = _values(results, selection, metric)
    pairs = pair({}, {})
    if selection is not first:
        is_primary = metric in (selection.study.primary, first.study.primary)
        pairs = pair_arms(mine, _values(results, first, metric), counts_diverged=is_primary)
    return compare_pairs(rule_of(selection, first), mine, pairs)


def _values(results: Results, selection: Selection, metric: str) -> ArmValues:
    study, chosen = selection.study, selection.seed
    outcomes, right = results.outcomes(study), results.right(study)
    found = arm_values(study, outcomes, selection.arm, metric, right)
    found = replace(found, arm=selection.name)
    if chosen is None:
        return found
    return replace(
        found,
        by_seed={seed: value for seed, value in found.by_seed.items() if seed == chosen},
        planned=(chosen,),
        diverged=found.diverged & {chosen},
    )
