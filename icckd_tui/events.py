"""Events between two frames: failures, complete trials, best values, clear results."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from icckd_tui.comparison import excludes_zero
from icckd_tui.data import Frame
from icckd_tui.decision import bar_text, questions_of
from icckd_tui.text import display, scale_for

if TYPE_CHECKING:
    from icckd.results.types import TrialStatus

_OVER = ("the session is ended", "the session is interrupted")

What = Literal[
    "failed", "blocked", "complete", "best", "verdict", "clear", "unclear", "session", "answer"
]
TONES: dict[What, str] = {
    "failed": "failed",
    "blocked": "blocked",
    "complete": "complete",
    "best": "good",
    "verdict": "strong",
    "clear": "strong",
    "unclear": "muted",
    "session": "warning",
    "answer": "running",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEvent:
    """One thing that happened to a trial, an arm (`seed` None) or the session (`arm` "")."""

    time: float
    what: What
    arm: str
    seed: int | None
    text: str


def events_between(before: Frame, now: Frame) -> tuple[StudyEvent, ...]:
    """Return what happened between two frames of the same study."""
    if before.study.name != now.study.name:
        return ()
    time = now.progress.newest or 0.0
    return (
        *_session(before, now, time),
        *_trials(before, now, time),
        *_verdicts(before, now, time),
        *_intervals(before, now, time),
        *_answers(before, now),
    )


def _session(before: Frame, now: Frame, time: float) -> list[StudyEvent]:
    old, new = before.progress.session, now.progress.session
    if old == new:
        return []
    answer = f": {bar_text(now)[0]}" if new == "ended" and bar_text(now)[0] else ""
    text = f"the session is {new}{answer}"
    return [StudyEvent(time=time, what="session", arm="", seed=None, text=text)]


def alert_text(happened: tuple[StudyEvent, ...], on: Collection[str]) -> str:
    """Return one line about what the user is alerted to among events, "" for nothing.

    `on` are what alerts are about: "verdict", "failure", "end".
    """
    kinds = {"verdict": "verdict", "failed": "failure", "session": "end"}
    told = [
        f"{event.arm}{'' if event.seed is None else f' s{event.seed}'} {event.text}".strip()
        for event in happened
        if kinds.get(event.what) in on and (event.what != "session" or event.text.startswith(_OVER))
    ]
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return f"{told[0]}{more}" if told else ""


def _trials(before: Frame, now: Frame, time: float) -> list[StudyEvent]:
    if before.trials is now.trials:
        return []
    states = {(row.arm, row.seed): row.state for row in before.trials}
    found = []
    best = _best(before)
    for row in now.trials:
        old = states.get((row.arm, row.seed))
        if row.state == old:
            continue
        if row.state in ("failed", "blocked"):
            text = f"{row.state}: {display(row.reason or row.stage)}"
            found.append(_of(row, time, "failed" if row.state == "failed" else "blocked", text))
        elif row.state == "complete":
            best, text = _compare(now, row, best)
            found.append(_of(row, time, "best" if text else "complete", text or "complete"))
    return found


def _best(frame: Frame) -> float | None:
    sign = _sign(frame)
    values = [sign * row.primary for row in frame.trials if row.primary is not None]
    return max(values, default=None)


def _sign(frame: Frame) -> float:
    return -1.0 if frame.study.metric(frame.study.primary).direction == "lower" else 1.0


def _compare(frame: Frame, row: TrialStatus, best: float | None) -> tuple[float | None, str]:
    """Return the best value so far, and a text if this trial set it."""
    if row.primary is None:
        return best, ""
    value = _sign(frame) * row.primary
    if best is not None and value <= best:
        return best, ""
    name = frame.study.primary
    scale = scale_for(frame.study.metric(name).unit, [row.primary])
    text = f"best {display(name, 40)} so far: {scale.value(row.primary)} {scale.unit}".rstrip()
    return value, text if best is not None else ""


def _of(row: TrialStatus, time: float, what: What, text: str) -> StudyEvent:
    return StudyEvent(time=time, what=what, arm=row.arm, seed=row.seed, text=text)


def _verdicts(before: Frame, now: Frame, time: float) -> list[StudyEvent]:
    """Return the verdicts that fell, or are no longer what they were."""
    if before.declared is now.declared:
        return []
    old = {(each.arm, each.metric): each for each in questions_of(before)}
    found = []
    for each in questions_of(now):
        known = old.get((each.arm, each.metric))
        if each.row is None or not each.is_decided:
            continue
        if known is not None and known.row is not None and known.row.verdict == each.row.verdict:
            continue
        part = "the part " if each.row.verdict in ("helps", "hurts") else ""
        text = f"{part}{each.row.verdict} on {display(each.metric, 40)}"
        event = StudyEvent(time=time, what="verdict", arm=each.arm, seed=None, text=text)
        found.append(event)
    return found


def _intervals(before: Frame, now: Frame, time: float) -> list[StudyEvent]:
    if before.declared is now.declared:
        return []
    primary = now.study.primary
    old = {r.arm: excludes_zero(r) for r in before.declared if r.metric == primary}
    found = []
    for row in now.declared:
        if row.metric != primary or row.difference is None:
            continue
        clear = excludes_zero(row)
        if clear == old.get(row.arm, False):
            continue
        sign = "excludes" if clear else "includes"
        text = f"the interval of {display(primary, 40)} now {sign} 0, {row.pairs} pairs"
        what: What = "clear" if clear else "unclear"
        found.append(StudyEvent(time=time, what=what, arm=row.arm, seed=None, text=text))
    return found


def _answers(before: Frame, now: Frame) -> list[StudyEvent]:
    known = {row.name for row in before.requests}
    return [
        StudyEvent(time=row.time, what="answer", arm="", seed=None,
                  text=f"{display(row.kind, 20)}: {display(row.answer)}")
        for row in now.requests
        if row.name not in known
    ]  # fmt: skip
