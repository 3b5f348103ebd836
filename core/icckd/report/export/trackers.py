"""Trials as runs of a tracker, and the environment that its library sees while it writes."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from icckd.results.query import Results
from icckd.results.selection import Selection, settings_of
from icckd.results.series import TrialSeries
from icckd.results.types import StudyInfo, TrialStatus, mark_of
from icckd.study.records import Role, State


@contextmanager
def only(prefixes: tuple[str, ...], wanted: Mapping[str, str]) -> Iterator[None]:
    """Replace the variables with these prefixes by those given, and put them back afterwards.

    What a user has set for their own training, a server or a run's identity say, must not decide
    where an export goes.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(prefixes):
            del os.environ[name]
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# Trials in the shape that trackers share: settings, tags, series by epoch, outcomes.

Setting = bool | int | float | str
OUTCOME_PREFIX = "outcome/"
"""Leads the name of an outcome: some series have the same name."""


_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,127}")


def as_folder(name: str) -> str:
    """Return a name as that of one folder: the same where a study file could hold it.

    >>> as_folder("no-cache"), as_folder("../x")
    ('no-cache', 'x..-x-d6b96a97')
    """
    if _FOLDER.fullmatch(name):
        return name
    kept = re.sub(r"[^A-Za-z0-9._=+-]", "-", name[:64])
    return f"x{kept}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A trial that was started, as a tracker sees it.

    Attributes:
        arm: Name of its arm.
        seed: Its seed.
        role: The role of its arm.
        state: Its state.
        started: When its first attempt started, in Unix seconds.
        seconds: What the attempts that stand for its stages took.
        settings: What its stages trained with, by dotted path; lists and null as JSON.
        series: Values by epoch, in the units of the metrics.
        outcomes: Finite outcomes by name, with the prefix `outcome/`.
        never_reached: Outcomes whose target was never reached; they have no number.
        data: "synthetic" or "imported" where that is so of the study, else "".
    """

    arm: str
    seed: int
    role: Role
    state: State
    started: float
    seconds: float
    settings: Mapping[str, Setting]
    series: tuple[TrialSeries, ...]
    outcomes: Mapping[str, float]
    never_reached: tuple[str, ...]
    data: str

    @property
    def name(self) -> str:
        """Arm and seed in one word, as `icckd show` takes it."""
        return f"{self.arm}/{self.seed}"

    @property
    def tags(self) -> dict[str, str]:
        """What to filter runs by."""
        tags = {"arm": self.arm, "seed": str(self.seed), "role": self.role, "state": self.state}
        return {**tags, **({"data": self.data} if self.data else {})}

    @property
    def config(self) -> dict[str, Setting]:
        """Settings, tags, and the outcomes that have no number."""
        never = {"never_reached": " ".join(self.never_reached)} if self.never_reached else {}
        return {**self.settings, **self.tags, "seed": self.seed, **never}

    def by_epoch(self) -> dict[int, dict[str, float]]:
        """Return the values of all series by epoch, ascending from 1."""
        rows: dict[int, dict[str, float]] = {}
        for series in self.series:
            for epoch, value in zip(
                series.epochs_E.tolist(), series.values_E.tolist(), strict=True
            ):
                rows.setdefault(epoch, {})[series.metric] = value
        return dict(sorted(rows.items()))


def tracked_runs(results: Results, study: StudyInfo) -> tuple[TrackedRun, ...]:
    """Return the trials that were started, arm by arm in the study's order, seeds ascending."""
    roles = {arm.name: arm.role for arm in study.arms}
    found = (_run(results, study, trial, roles[trial.arm]) for trial in results.trials(study))
    return tuple(run for run in found if run is not None)


def _run(results: Results, study: StudyInfo, trial: TrialStatus, role: Role) -> TrackedRun | None:
    attempts = results.attempts(study, trial.arm, trial.seed)
    if not attempts:
        return None
    values = results.trial_outcomes(study, trial.arm, trial.seed)
    settings = settings_of(results, Selection(study=study, arm=trial.arm, seed=trial.seed))
    return TrackedRun(
        arm=trial.arm,
        seed=trial.seed,
        role=role,
        state=trial.state,
        started=min(attempt.started for attempt in attempts),
        seconds=trial.seconds,
        settings=flattened(settings),
        series=results.trial_series(study, trial.arm, trial.seed),
        outcomes={OUTCOME_PREFIX + m: v for m, v in values.items() if math.isfinite(v)},
        never_reached=tuple(m for m, v in values.items() if math.isinf(v)),
        data=mark_of(study).partition(" ")[0],
    )


def flattened(settings: Mapping[str, Any], path: str = "") -> dict[str, Setting]:
    """Return nested settings by dotted path; everything but scalars is written as JSON.

    >>> flattened({"teacher": {"views": 2, "intra": {"cache": "off", "layers": [1, 2]}}})
    {'teacher.views': 2, 'teacher.intra.cache': 'off', 'teacher.intra.layers': '[1, 2]'}
    """
    flat: dict[str, Setting] = {}
    for name, value in settings.items():
        inner = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            flat.update(flattened(value, inner))
        else:
            flat[inner] = value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
    return flat
