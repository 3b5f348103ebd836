"""Where studies stand, in plain lines: status, studies, revisions, logs, one arm or trial."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from icckd.report.numbers import bytes_text, duration, scale_for
from icckd.report.text import aligned, display, origin_suffix
from icckd.results.overview import Overview
from icckd.results.query import Results
from icckd.results.types import Attempt, LogEntry, Progress, StateCounts, StudyInfo, TrialStatus
from icckd.study.paths import changes
from icckd.study.records import Arm

TAIL_LINES = 5
LOG_LINES = 12
"""How many of its newest log lines are shown of a trial."""
_SESSION = {
    "live": "running now",
    "ended": "not running",
    "interrupted": "interrupted: the session died; `icckd run` resumes where it stopped",
    "none": "never run",
}


def write_status(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write counts, time left, and every trial that is not simply complete or pending."""
    progress = results.progress(study)
    out.write(
        f"study {display(study.name)} (revision {display(study.revision[:8])}): "
        f"{_session(progress)}{origin_suffix(study)}\n"
    )
    out.write(f"trials  {_counts(progress.trials)}\n")
    out.write(f"stages  {_counts(progress.stages)}\n")
    for trial in results.unsettled(study):
        out.write(f"  {_trial(trial)}\n")
        if trial.state == "failed":
            out.writelines(f"      {display(line)}\n" for line in _why(results, study, trial))


SORTS: Mapping[str, Callable[[tuple[Overview, int]], Any]] = {
    "planned": lambda row: -row[0].study.planned_at,
    "last-run": lambda row: -row[0].last_run,
    "name": lambda row: row[0].study.name,
    "trials": lambda row: -row[0].trials.total,
    "size": lambda row: -row[1],
}
"""By what studies are listed: the newest, or the largest, first."""


def write_studies(rows: Sequence[tuple[Overview, int]], out: TextIO) -> None:
    """Write a line for each study: the newest revision, and the verdicts that reports show.

    Args:
        rows: Each study with its bytes in the state folder.
        out: Where to.
    """
    table = [["study", "revision", "last run", "arms x seeds", "trials", "verdicts", "size", ""]]
    for row, size in rows:
        study, shown = row.study, row.reported
        other = "" if shown.key == study.key else f"; newest complete revision {shown.revision}"
        state = {"ended": "", "live": "running now"}.get(row.session, row.session)
        table.append(
            [
                display(study.name),
                display(study.revision[:8]),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(row.last_run)),
                f"{len(study.arms)} x {len(study.seeds)}",
                _counts(row.trials),
                _verdicts(row),
                bytes_text(size),
                display(f"{state}{origin_suffix(study)}{other}".removeprefix("; ")),
            ]
        )
    out.writelines(f"{line}\n" for line in aligned(table, gap=2))


def studies_as_json(rows: Sequence[tuple[Overview, int]]) -> str:
    """Return the same as JSON; times are Unix seconds, sizes bytes."""
    found = [
        {
            "study": row.study.name,
            "question": row.study.question,
            "revision": row.study.revision,
            "reported_revision": row.reported.revision,
            "planned": row.study.planned_at,
            "last_run": row.last_run,
            "session": row.session,
            "arms": len(row.study.arms),
            "seeds": list(row.study.seeds),
            "trials": {**asdict(row.trials), "total": row.trials.total},
            "verdicts": row.verdicts,
            "imported": row.study.observed is not None,
            "bytes": size,
        }
        for row, size in rows
    ]
    return json.dumps(found, indent=2)


def _verdicts(row: Overview) -> str:
    """Return how many questions have which verdict: "2 helps, 1 undecided"."""
    order = ("helps", "hurts", "equivalent", "undecided")
    return ", ".join(f"{n} {name}" for name in order if (n := row.verdicts.get(name))) or "-"


def write_revisions(results: Results, name: str | None, out: TextIO) -> None:
    """Write each revision of a study, the newest first, and what changed since the one before."""
    revisions = results.revisions(name)
    shown = results.reported(name)
    for study, before in zip(revisions, [*revisions[1:], None], strict=True):
        mark = "  (what reports show)" if study.key == shown.key else ""
        out.write(
            f"{display(study.name)}@{display(study.revision)}  {_plan_and_state(results, study)}"
            f"{mark}\n"
        )
        if before is not None:
            out.write(f"    since {display(before.revision)}:\n")
            out.writelines(f"      {line}\n" for line in _revision_changes(results, before, study))


def _plan_and_state(results: Results, study: StudyInfo) -> str:
    progress = results.progress(study)
    planned = time.strftime("%Y-%m-%d %H:%M", time.localtime(study.planned_at))
    return (
        f"planned {planned}  {len(study.arms)} arms x {len(study.seeds)} seeds"
        f"  {_counts(progress.trials)}  {progress.session}{origin_suffix(study)}"
    )


def _revision_changes(results: Results, before: StudyInfo, after: StudyInfo) -> list[str]:
    """Return in what two revisions differ: what the study says, else what its stages read."""
    found = [
        *_changed_arms(before, after),
        *(
            display(f"{each.path}: {json.dumps(each.before)} -> {json.dumps(each.after)}", 300)
            for each in changes(before.resolved, after.resolved)
            if each.path not in _ARMS
        ),
    ]
    conditions = [
        f"{name}: {' and '.join(old)} -> {' and '.join(new)}"
        for name, old, new in zip(
            _CONDITIONS, _read_by(results, before), _read_by(results, after), strict=True
        )
        if old and new and old != new
    ]
    found += [display(line, 300) for line in conditions]
    return found or ["the same text with other stages: other data, device or source of icckd"]


_ARMS = ("arm", "ablation", "factor", "family")
"""What a study says of its arms, in tables that are long to read."""


def _changed_arms(before: StudyInfo, after: StudyInfo) -> list[str]:
    """Return which arms came and went, and which are defined in another way."""
    old, new = ({arm.name: arm for arm in study.arms} for study in (before, after))
    lines = {
        "arms added": [name for name in new if name not in old],
        "arms left out": [name for name in old if name not in new],
        "arms changed": [n for n in new if n in old and old[n].changes != new[n].changes],
    }
    found = [f"{what}: {display(', '.join(names), 300)}" for what, names in lines.items() if names]
    said = [each.path for each in changes(before.resolved, after.resolved) if each.path in _ARMS]
    return found or [f"{path}: other texts for the same arms" for path in said]


_CONDITIONS = ("data", "numerics", "training version", "changed source")


def _read_by(results: Results, study: StudyInfo) -> tuple[list[str], ...]:
    """Return what the complete stages of a revision read, besides its settings."""
    stages = results.provenance(study).stages
    source = {stage.environment.get("changed_source", "") or "none" for stage in stages}
    return (
        sorted({stage.fingerprint[:16] for stage in stages}),
        sorted({_facts(stage.numerics) for stage in stages}),
        sorted({str(stage.code_epoch) for stage in stages}),
        sorted(source),
    )


def write_log_row(row: LogEntry, out: TextIO) -> None:
    """Write one log line."""
    place = f"{row.arm}/{row.seed} {row.stage}" if row.arm else "session"
    level = "" if row.level == "info" else f"{row.level}: "
    clock = time.strftime("%H:%M:%S", time.localtime(row.time))
    out.write(f"{clock} {display(place)}: {level}{display(row.text)}\n")


def _why(results: Results, study: StudyInfo, trial: TrialStatus) -> list[str]:
    """Return the cause of each attempt that failed, and how the last one's output ended."""
    attempts = results.attempts(study, trial.arm, trial.seed)
    failed = [attempt for attempt in attempts if attempt.state == "failed"]
    lines = [f"{a.cause or 'failed'}: {a.attempt}, epoch {a.epoch} of {a.epochs}" for a in failed]
    if failed:
        if failed[-1].hint:
            lines.append(f"hint: {failed[-1].hint}")
        lines += [f"| {line}" for line in results.output_tail(failed[-1].attempt, TAIL_LINES)]
    return lines


def _session(progress: Progress) -> str:
    text = _SESSION[progress.session]
    if progress.session != "live":
        return text
    left = "unknown" if progress.eta_seconds is None else duration(progress.eta_seconds)
    age = "" if progress.newest is None else f", newest record {_age(progress.newest)} old"
    if progress.stalled:
        text = f"{text}, {display(progress.stalled)}"
    elif progress.paused:
        text = f"{text}, paused"
    return f"{text}, {progress.workers} workers, time left {left}{age}"


def _age(moment: float) -> str:
    return duration(max(0.0, time.time() - moment))


def _counts(counts: StateCounts) -> str:
    states = ("running", "complete", "pending", "failed", "blocked", "cancelled")
    shown = [f"{n} {state}" for state in states if (n := getattr(counts, state))]
    return f"{', '.join(shown)} of {counts.total}"


def _trial(trial: TrialStatus) -> str:
    where = f"{trial.stage} {trial.epoch}/{trial.epochs}" if trial.stage else ""
    reason = f": {display(trial.reason)}" if trial.reason else ""
    return f"{display(trial.arm)}/{trial.seed}  {trial.state}  {where}".rstrip() + reason


# All about one arm or one trial.


def write_arm(results: Results, study: StudyInfo, arm: str, out: TextIO) -> None:
    """Write what an arm is and how each of its trials stands."""
    row = next(row for row in study.arms if row.name == arm)
    _write_head(study, row, out)
    out.write("\ntrials:\n")
    for trial in results.trials(study):
        if trial.arm == arm:
            known = trial.primary
            value = "" if known is None else f"  {_outcome(study, study.primary, known)}"
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
    for metric, value in results.trial_outcomes(study, arm, seed).items():
        out.write(f"  {_outcome(study, metric, value)}\n")
    newest = {attempt.kind: attempt for attempt in attempts}
    for kind, attempt in newest.items():
        out.write(f"\nsettings of the {kind}:\n")
        _write_settings(attempt.settings, out)
    for attempt in attempts:
        if attempt.traceback:
            out.write(f"\ntraceback of {attempt.attempt}:\n")
            out.writelines(f"  {display(line)}\n" for line in attempt.traceback.splitlines())
    if rows := results.log(study, limit=LOG_LINES, arm=arm, seed=seed):
        out.write("\nlog, newest lines (`icckd logs` has all):\n")
        for line in rows:
            out.write("  ")
            write_log_row(line, out)


def _outcome(study: StudyInfo, metric: str, value: float) -> str:
    """Return an outcome as people write it: `teacher.memory_rss 1.20 GiB`."""
    scale = scale_for(study.metric(metric).unit, [value])
    is_count = value.is_integer() and scale.unit in ("steps", "epochs")
    text = f"{value:.0f}" if is_count else scale.value(value)
    return f"{display(metric)} {text} {scale.unit}".rstrip()


def _write_head(study: StudyInfo, arm: Arm, out: TextIO) -> None:
    label = f"control for {arm.control_for}" if arm.control_for else arm.role
    out.write(display(f"study {study.name}, arm {arm.name} ({label})", 1000) + "\n")
    if arm.title:
        out.write(f"{display(arm.title)}\n")
    for change in arm.changes:
        before, after = json.dumps(change.before), json.dumps(change.after)
        out.write(f"  {display(f'{change.path}: {before} -> {after}')}\n")


def _write_attempt(attempt: Attempt, out: TextIO) -> None:
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
