"""All about one arm or one trial."""

import json
import time
from typing import Any, TextIO

from icckd.report.text import display, duration
from icckd.results.read import Results
from icckd.results.types import ArmRow, AttemptRow, StudyInfo
from icckd.spec.metrics import OUTCOMES


def write_arm(results: Results, study: StudyInfo, arm: str, out: TextIO) -> None:
    """Write what an arm is and how each of its trials stands."""
    row = next(row for row in study.arms if row.name == arm)
    _write_head(study, row, out)
    out.write("\ntrials:\n")
    unit = OUTCOMES[study.primary].unit
    for trial in results.trials(study):
        if trial.arm == arm:
            value = "" if trial.primary is None else f"  {study.primary} {trial.primary:.2f} {unit}"
            reason = f"  {display(trial.reason)}" if trial.reason else ""
            out.write(f"  {display(arm)}/{trial.seed}  {trial.state}{value}{reason}\n")


def write_trial(results: Results, study: StudyInfo, arm: str, seed: int, out: TextIO) -> None:
    """Write a trial's attempts with their machine, its settings, its outcomes, its failures."""
    row = next(row for row in study.arms if row.name == arm)
    _write_head(study, row, out)
    out.write(f"\nseed {seed}, attempts:\n")
    attempts = results.attempts(study, arm, seed)
    for attempt in attempts:
        _write_attempt(attempt, out)
    out.write("\noutcomes:\n")
    for metric, info in OUTCOMES.items():
        value = results.values(study, metric).get(arm, {}).get(seed)
        if value is not None:
            out.write(f"  {metric} = {value:g} {info.unit}\n")
    newest = {attempt.kind: attempt for attempt in attempts}
    for kind, attempt in newest.items():
        out.write(f"\nsettings of the {kind}:\n")
        _write_settings(attempt.settings, out)
    for attempt in attempts:
        if attempt.traceback:
            out.write(f"\ntraceback of {attempt.attempt}:\n")
            out.writelines(f"  {display(line)}\n" for line in attempt.traceback.splitlines())


def _write_head(study: StudyInfo, arm: ArmRow, out: TextIO) -> None:
    label = f"control for {arm.control_for}" if arm.control_for else arm.role
    out.write(display(f"study {study.name}, arm {arm.name} ({label})", 1000) + "\n")
    if arm.title:
        out.write(f"{display(arm.title)}\n")
    for change in arm.changes:
        before, after = json.dumps(change.before), json.dumps(change.after)
        out.write(f"  {display(f'{change.path}: {before} -> {after}')}\n")


def _write_attempt(attempt: AttemptRow, out: TextIO) -> None:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.started))
    replicate = f" #{attempt.replicate}" if attempt.replicate else ""
    out.write(
        f"  {attempt.kind}{replicate}  {attempt.state}  epoch {attempt.epoch}/{attempt.epochs}"
        f"  {duration(attempt.seconds)}  started {started}\n"
        f"    attempt {attempt.attempt}, stage {display(attempt.stage[:16])}\n"
        f"    on {display(attempt.host)}, {_facts(attempt.numerics)}\n"
        f"    {_facts(attempt.environment)}\n"
    )
    if attempt.reason:
        out.write(f"    {display(attempt.reason)}\n")
    if attempt.hint:
        out.write(f"    hint: {display(attempt.hint)}\n")


def _facts(facts: dict[str, Any]) -> str:
    return display(", ".join(f"{name} {value}" for name, value in facts.items() if value != ""))


def _write_settings(settings: dict[str, Any], out: TextIO, path: str = "") -> None:
    for name, value in settings.items():
        inner = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            _write_settings(value, out, inner)
        else:
            out.write(f"  {display(inner)} = {display(json.dumps(value))}\n")
