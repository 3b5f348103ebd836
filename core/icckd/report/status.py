"""Plain lines: where a study stands, which studies there are, what the logs say."""

import time
from typing import TextIO

from icckd.report.notes import synthetic
from icckd.report.text import display, duration
from icckd.results.read import Results
from icckd.results.types import LogRow, Progress, StateCounts, StudyInfo, TrialRow

TAIL_LINES = 5
_SESSION = {
    "live": "running now",
    "ended": "not running",
    "interrupted": "interrupted: the session died; `icckd run` goes on where it stopped",
    "none": "never run",
}


def write_status(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write counts, time left, and every trial that is not simply complete or pending."""
    progress = results.progress(study)
    out.write(
        f"study {display(study.name)} (revision {display(study.revision[:8])}): "
        f"{_session(progress)}{synthetic(study)}\n"
    )
    out.write(f"trials  {_counts(progress.trials)}\n")
    out.write(f"stages  {_counts(progress.stages)}\n")
    for trial in results.trials(study):
        if trial.state not in ("complete", "pending"):
            out.write(f"  {_trial(trial)}\n")
        if trial.state == "failed":
            out.writelines(f"      {display(line)}\n" for line in _why(results, study, trial))


def write_studies(results: Results, out: TextIO) -> None:
    """Write a line for each study, the one planned last first."""
    for study in results.studies():
        progress = results.progress(study)
        planned = time.strftime("%Y-%m-%d %H:%M", time.localtime(study.planned_at))
        out.write(
            f"{display(study.name)}  {display(study.revision[:8])}  planned {planned}"
            f"  {len(study.arms)} arms x {len(study.seeds)} seeds"
            f"  {_counts(progress.trials)}  {progress.session}{synthetic(study)}\n"
        )


def write_log_row(row: LogRow, out: TextIO) -> None:
    """Write one log line."""
    place = f"{row.arm}/{row.seed} {row.stage}" if row.arm else "session"
    level = "" if row.level == "info" else f"{row.level}: "
    clock = time.strftime("%H:%M:%S", time.localtime(row.time))
    out.write(f"{clock} {display(place)}: {level}{display(row.text)}\n")


def _why(results: Results, study: StudyInfo, trial: TrialRow) -> list[str]:
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


def _trial(trial: TrialRow) -> str:
    where = f"{trial.stage} {trial.epoch}/{trial.epochs}" if trial.stage else ""
    reason = f": {display(trial.reason)}" if trial.reason else ""
    return f"{display(trial.arm)}/{trial.seed}  {trial.state}  {where}".rstrip() + reason
