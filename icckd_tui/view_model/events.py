"""What happened between two readings: failures, complete arms, best values, clear results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from icckd.spec.metrics import OUTCOMES
from icckd_tui.display import display
from icckd_tui.view_model.comparison import excludes_zero
from icckd_tui.view_model.frame import Frame
from icckd_tui.view_model.numbers import scale_for

if TYPE_CHECKING:
    from icckd.results.types import TrialRow

What = Literal["failed", "complete", "best", "clear", "unclear", "session", "answer"]
TONES: dict[What, str] = {
    "failed": "failed",
    "complete": "complete",
    "best": "good",
    "clear": "strong",
    "unclear": "muted",
    "session": "warning",
    "answer": "running",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened. `arm` and `seed` say where to look, "" and None: the session."""

    time: float
    what: What
    arm: str
    seed: int | None
    text: str


def happenings_between(before: Frame, now: Frame) -> tuple[Happening, ...]:
    """Return what is new in a reading of the same study."""
    if before.study.name != now.study.name:
        return ()
    time = now.progress.newest or 0.0
    return (
        *_session(before, now, time),
        *_trials(before, now, time),
        *_intervals(before, now, time),
        *_answers(before, now),
    )


def _session(before: Frame, now: Frame, time: float) -> list[Happening]:
    old, new = before.progress.session, now.progress.session
    if old == new:
        return []
    return [Happening(time=time, what="session", arm="", seed=None, text=f"the session is {new}")]


def _trials(before: Frame, now: Frame, time: float) -> list[Happening]:
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
            found.append(_of(row, time, "failed", text))
        elif row.state == "complete":
            best, text = _compare(now, row, best)
            found.append(_of(row, time, "best" if text else "complete", text or "complete"))
    return found


def _best(frame: Frame) -> float | None:
    sign = _sign(frame)
    values = [sign * row.primary for row in frame.trials if row.primary is not None]
    return max(values, default=None)


def _sign(frame: Frame) -> float:
    known = OUTCOMES.get(frame.study.primary)
    return -1.0 if known is not None and known.direction == "lower" else 1.0


def _compare(frame: Frame, row: TrialRow, best: float | None) -> tuple[float | None, str]:
    """Return the best value now and a text when this trial set it."""
    if row.primary is None:
        return best, ""
    value = _sign(frame) * row.primary
    if best is not None and value <= best:
        return best, ""
    name = frame.study.primary
    scale = scale_for(OUTCOMES[name].unit if name in OUTCOMES else "", [row.primary])
    text = f"best {display(name, 40)} so far: {scale.value(row.primary)} {scale.unit}".rstrip()
    return value, text if best is not None else ""


def _of(row: TrialRow, time: float, what: What, text: str) -> Happening:
    return Happening(time=time, what=what, arm=row.arm, seed=row.seed, text=text)


def _intervals(before: Frame, now: Frame, time: float) -> list[Happening]:
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
        text = f"the 95 % interval of {display(primary, 40)} now {sign} 0, {row.pairs} pairs"
        what: What = "clear" if clear else "unclear"
        found.append(Happening(time=time, what=what, arm=row.arm, seed=None, text=text))
    return found


def _answers(before: Frame, now: Frame) -> list[Happening]:
    known = {row.name for row in before.requests}
    return [
        Happening(time=row.time, what="answer", arm="", seed=None,
                  text=f"{display(row.kind, 20)}: {display(row.answer)}")
        for row in now.requests
        if row.name not in known
    ]  # fmt: skip
