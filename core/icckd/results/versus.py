"""Any arms side by side, of one study or several, and how two of them differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icckd.errors import UsageError
from icckd.results.pairing import pair
from icckd.results.read import Results
from icckd.results.types import ChangeRow, Comparison, StudyInfo
from icckd.spec.metrics import OUTCOMES
from icckd.spec.paths import changes, nearest
from icckd.stats.effect import standardized_effect
from icckd.stats.paired import paired_difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An arm of a study, or one trial of it when `seed` is set."""

    study: StudyInfo
    arm: str
    seed: int | None

    @property
    def name(self) -> str:
        """Study, arm and seed in one word."""
        seed = "" if self.seed is None else f"/{self.seed}"
        return f"{self.study.name}:{self.arm}{seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What results must share to be pairs: data, numerics, code; one entry for each kind seen."""

    fingerprints: frozenset[str]
    numerics: frozenset[str]
    code_epochs: frozenset[int]


def find_subject(results: Results, text: str, study: str | None = None) -> Subject:
    """Return what `[STUDY:]ARM[/SEED]` names.

    Raises:
        UsageError: There is no such study, arm or seed.
    """
    name, colon, rest = text.rpartition(":")
    info = results.study(name if colon else study)
    arm, slash, seed = rest.partition("/")
    names = [row.name for row in info.arms]
    if arm not in names:
        raise UsageError(f"study {info.name!r} has no arm {arm!r}", hint=nearest(arm, names))
    number = seed.removeprefix("s")
    if slash and not (number.isdecimal() and int(number) in info.seeds):
        raise UsageError(
            f"arm {arm!r} has no seed {seed!r}", hint=f"seeds: {info.seeds[0]} to {info.seeds[-1]}"
        )
    return Subject(study=info, arm=arm, seed=int(number) if slash else None)


def settings_of(results: Results, subject: Subject) -> dict[str, Any]:
    """Return the settings that the newest attempts of a subject's first trial trained with."""
    seeds = subject.study.seeds if subject.seed is None else (subject.seed,)
    for seed in seeds:
        attempts = results.attempts(subject.study, subject.arm, seed)
        if attempts:
            return {key: value for a in attempts for key, value in a.settings.items()}
    return {}


def stages_of(results: Results, subject: Subject) -> dict[tuple[str, int, int], str]:
    """Return the digests of a subject's complete stages, by kind, seed and replicate."""
    return {
        (stage.kind, stage.seed, stage.replicate): stage.stage
        for stage in results.provenance(subject.study).stages
        if subject.arm in stage.arms and subject.seed in (None, stage.seed)
    }


def ground_of(results: Results, subject: Subject) -> Ground:
    """Return what a subject's results stand on."""
    rows = [s for s in results.provenance(subject.study).stages if subject.arm in s.arms]
    return Ground(
        fingerprints=frozenset(row.fingerprint for row in rows),
        numerics=frozenset(str(sorted(row.numerics.items())) for row in rows),
        code_epochs=frozenset(row.code_epoch for row in rows),
    )


def differing_settings(results: Results, first: Subject, second: Subject) -> tuple[ChangeRow, ...]:
    """Return the settings in which two subjects differ, from what their stages trained with."""
    before, after = settings_of(results, first), settings_of(results, second)
    return tuple(
        ChangeRow(path=change.path, before=change.before, after=change.after)
        for change in changes(before, after)
    )


def side_by_side(
    results: Results, subjects: Sequence[Subject], metrics: Sequence[str]
) -> dict[tuple[str, str], Comparison]:
    """Return each subject on each metric, against the first over the seeds that both have."""
    return {
        (subject.name, metric): _row(results, subject, subjects[0], metric)
        for subject in subjects
        for metric in metrics
    }


def _row(results: Results, subject: Subject, first: Subject, metric: str) -> Comparison:
    mine, theirs = _values(results, subject, metric), _values(results, first, metric)
    values = np.array([mine[seed] for seed in sorted(mine)])
    n, never = int(values.size), int(np.isinf(values).sum())
    pairs = pair(mine, theirs) if subject is not first else pair({}, {})
    known = pairs.finite if not pairs.never else np.empty(0)
    result = paired_difference(known, np.zeros_like(known)) if known.size > 1 else None
    return Comparison(
        arm=subject.name,
        metric=metric,
        unit=OUTCOMES[metric].unit if metric in OUTCOMES else "",
        n=n,
        never=never,
        missing=(),
        mean=float(values.mean()) if n and not never else None,
        spread=float(values.std(ddof=1)) if n > 1 and not never else None,
        median=float(np.median(values)) if n else None,
        pairs=len(pairs.seeds),
        difference=result.mean if result else None,
        low=result.low if result else None,
        high=result.high if result else None,
        p=result.p if result else None,
        p_adjusted=None,
        verdict="",
        test="t" if result else "",
        unpaired=pairs.unpaired,
        effect_size=standardized_effect(known) if result else None,
    )


def _values(results: Results, subject: Subject, metric: str) -> dict[int, float]:
    found = results.values(subject.study, metric).get(subject.arm, {})
    return {s: v for s, v in found.items() if subject.seed in (None, s)}
