"""`icckd check`: what the code of a task keeps of the promises that its study rests on.

Design laws 2 and 7 (docs/laws.md) hold of icckd's own engine by construction: equal seeds are
pairs, and the seed decides all randomness. Of the user's code they are claims. The check runs the
baseline twice under one seed and once under another, and other arms as far as they report
fingerprints, in folders of its own; nothing of it becomes a result.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icckd.errors import IcckdError, StagePaused, UsageError
from icckd.journal.artifacts import publish, workspace
from icckd.journal.folder import StateFolder
from icckd.results.checks import Check
from icckd.run.messages import Order
from icckd.run.task import run_task
from icckd.study.model import Study
from icckd.study.origin import study_folder
from icckd.study.plan import Plan, StageJob
from icckd.study.tasks import by_name, uses_engine
from icckd.train.contract import JobContext


@dataclass(slots=True)
class _Run:
    """What one run of one arm reported: a recorder that keeps it in memory."""

    series: dict[str, dict[int, float]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    is_whole: bool = True
    failed: str = ""

    def steps(self, values: Mapping[int, Mapping[str, float]]) -> None:
        """Keep series values by step."""
        for step, named in values.items():
            for name, value in named.items():
                self.series.setdefault(name, {})[step] = value

    def outcomes(self, values: Mapping[str, float], right: tuple[bool, ...] = ()) -> None:
        """Keep outcomes, those apart that measure the machine."""
        machine = (".seconds", ".memory_rss")
        self.values |= {n: v for n, v in values.items() if not n.endswith(machine)}

    def items(
        self, ids: Sequence[str], groups: Sequence[str], scores: Mapping[str, Sequence[float]]
    ) -> None:
        """Keep the scores of items among the outcomes."""
        for metric, each in scores.items():
            named = zip(ids, each, strict=True)
            self.values |= {f"{metric} of item {item}": score for item, score in named}

    def fingerprint(self, name: str, digest: str) -> None:
        """Keep the fingerprint of an array."""
        self.fingerprints[name] = digest

    def resumed_at(self, step: int, *, attempt: str, seconds: float) -> None:
        """Nothing: every run of a check begins anew."""

    def log(self, message: str) -> None:
        """Nothing: printed lines are not kept."""


def check(
    study: Study,
    plan: Plan,
    *,
    seconds: float,
    say: Callable[[str], None],
) -> Check:
    """Run the check.

    Args:
        study: The study, whose trials run tasks only.
        plan: Its plan, with two seeds at least.
        seconds: How long one run may take; it is stopped then, and judged by what it reported.
        say: Told what begins.

    Raises:
        UsageError: The study runs no tasks of its own alone.
    """
    if uses_engine(study.task):
        raise UsageError(
            "icckd check looks at tasks, and this study has none, or trains with icckd's engine",
            hint="icckd's own engine keeps these promises by construction: docs/laws.md",
        )
    first, other = study.study.seeds.all()[:2]
    baseline = study.study.baseline
    with tempfile.TemporaryDirectory(prefix="icckd-check-") as scratch:
        runs = {}
        for label, seed in (("once", first), ("again", first), ("other", other)):
            say(f"{baseline} under seed {seed}{', again' if label == 'again' else ''}")
            runs[label] = _run(study, plan, baseline, seed, Path(scratch) / label, seconds)
        arms: dict[str, _Run] = {}
        if runs["once"].fingerprints:
            for arm in plan.arms:
                if arm.name != baseline:
                    say(f"{arm.name} under seed {first}, for its fingerprints")
                    where = Path(scratch) / f"arm-{len(arms)}"
                    arms[arm.name] = _run(study, plan, arm.name, first, where, seconds)
    return _judged(study, runs, arms)


def _run(study: Study, plan: Plan, arm: str, seed: int, root: Path, seconds: float) -> _Run:
    """Run the tasks of one trial one after the other."""
    folder = StateFolder(root)
    folder.create()
    trial = next(t for t in plan.trials if (t.arm, t.seed) == (arm, seed))
    found, start = _Run(), time.monotonic()
    lock = folder.locks / "check.lock"
    with lock.open("w") as held:
        for digest in trial.stages:
            stage = plan.stages[digest]
            try:
                _run_stage(study, stage, folder, found, start + seconds, held.fileno())
            except StagePaused:
                found.is_whole = False
                break
            except IcckdError as error:
                found.failed = error.message
                break
    found.seconds = time.monotonic() - start
    return found


def _run_stage(  # what one run of a task needs
    study: Study, stage: StageJob, folder: StateFolder, found: _Run, until: float, lock: int
) -> None:
    order = Order(
        attempt=f"{stage.digest[:16]}-check",
        session="check",
        state_folder=str(folder.root),
        data_root=str(folder.root),
        stage=stage,
        study_folder=str(study_folder(study)),
    )
    prepared = workspace(folder, order.attempt)
    context = JobContext(
        device=stage.numerics.device,
        data_root=folder.root,
        artifact_folder=prepared,
        should_stop=lambda: time.monotonic() > until,
    )
    run_task(order, folder, found, context, lock, output=None)
    publish(folder, stage.digest, prepared)


def _judged(study: Study, runs: Mapping[str, _Run], arms: Mapping[str, _Run]) -> Check:
    once, again, other = runs["once"], runs["again"], runs["other"]
    failed = [run.failed for run in (once, again, other) if run.failed]
    if failed:
        return Check(at=time.time(), is_kept=False, told=(f"a run failed: {failed[0]}",))
    told: list[str] = []
    difference = _difference(once, again)
    values = sum(len(steps) for steps in once.series.values()) + len(once.values)
    if difference:
        told.append(f"the seed does not decide all randomness: {difference}")
    else:
        told.append(f"two runs under one seed agree in all {values} values that they reported")
    is_used = bool(_difference(once, other))
    if not is_used:
        told.append("another seed changes nothing: the code does not use it, so n counts nothing")
    shared = _shared(once, arms)
    told += shared
    missing = [
        f"{kind}.{name}"
        for kind, task in by_name(study.task).items()
        for name in task.metrics
        if once.is_whole and f"{kind}.{name}" not in {**once.series, **once.values}
    ]
    if missing:
        told.append(f"declared and never reported: {', '.join(missing)}")
    part = "" if once.is_whole else " (stopped there: what comes later was not looked at)"
    told.append(f"a trial takes {once.seconds:.1f} s{part}")
    is_kept = not difference and is_used and not missing
    return Check(
        at=time.time(),
        is_kept=is_kept and not any("differ" in text for text in shared),
        told=tuple(told),
    )


def _difference(one: _Run, two: _Run) -> str:
    """Return where two runs differ first, in words; "" where they agree in all that both have."""
    for name, steps in one.series.items():
        for step in sorted(steps.keys() & two.series.get(name, {}).keys()):
            a, b = steps[step], two.series[name][step]
            if a != b and not (a != a and b != b):
                return f"{name} at step {step} is {a:.9g} and {b:.9g}"
    for name in one.values.keys() & two.values.keys():
        if one.values[name] != two.values[name]:
            return f"{name} is {one.values[name]:.9g} and {two.values[name]:.9g}"
    for name in one.fingerprints.keys() & two.fingerprints.keys():
        if one.fingerprints[name] != two.fingerprints[name]:
            return f"the fingerprint of {name} differs"
    return ""


def _shared(baseline: _Run, arms: Mapping[str, _Run]) -> list[str]:
    """Say which arms share with the baseline what the code took fingerprints of."""
    if not baseline.fingerprints:
        return [
            "whether arms share data order and initial weights is not known: the code calls no"
            " run.fingerprint"
        ]
    told = []
    for name, digest in baseline.fingerprints.items():
        others = {arm: run.fingerprints.get(name) for arm, run in arms.items()}
        unlike = [arm for arm, found in others.items() if found is not None and found != digest]
        if unlike:
            told.append(f"{name} of {', '.join(unlike)} differ from the baseline's under one seed")
        else:
            told.append(f"{name} is the same in all arms under one seed")
    return told
