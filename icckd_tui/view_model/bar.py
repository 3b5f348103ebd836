"""The study bar: what runs, how far it is, how fresh the news are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icckd_tui.display import display, fit
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.numbers import duration
from icckd_tui.view_model.spans import Span, Spans, padded, width_of

if TYPE_CHECKING:
    from icckd.results.types import Progress, StudyInfo

STALE_AFTER = 30.0  # seconds without a journal line in a live session

_ORDER = ("complete", "running", "failed", "blocked", "cancelled", "pending")


def age_of(progress: Progress, now: float) -> Spans:
    """Return how fresh the newest record is: LIVE, STALE, ENDED, INTERRUPTED or NOT STARTED."""
    age = max(0.0, now - progress.newest) if progress.newest is not None else None
    if progress.session == "live":
        if age is None:
            return (Span("LIVE", "good"),)
        word, tone = ("LIVE", "good") if age < STALE_AFTER else ("STALE", "warning")
        if progress.paused or progress.stalled:
            word, tone = ("PAUSED" if progress.paused else "STALLED"), "warning"
        return (Span(f"{word} {duration(age)}", tone),)
    word, tone = {
        "ended": ("ENDED", "muted"),
        "interrupted": ("INTERRUPTED", "error"),
    }.get(progress.session, ("NOT STARTED", "muted"))
    return (Span(word, tone),)


def counts_of(progress: Progress, glyphs: Glyphs, *, words: bool) -> Spans:
    """Return the trials per state, each with glyph and number; empty states left out."""
    spans: list[Span] = []
    for state in _ORDER:
        count = getattr(progress.trials, state)
        if count:
            word = f" {state}" if words else ""
            spans += [Span("  "), Span(f"{glyphs.states[state]} {count}{word}", state)]
    return tuple(spans)


def _eta(progress: Progress) -> Spans:
    if progress.session != "live" or progress.eta_seconds is None:
        return ()
    return (Span("   ETA ", "muted"), Span(duration(progress.eta_seconds)))


def bar_view(study: StudyInfo, progress: Progress, now: float, width: int, glyphs: Glyphs) -> Spans:
    """Return the bar, exactly `width` cells: details go first when room is short."""
    from icckd.results.synthetic import on_synthetic_data  # the first paint does without

    name = display(study.name)
    size = f"  {len(study.arms)} arms {glyphs.times} {len(study.seeds)} seeds"
    mark: Spans = (Span(" synthetic data", "warning"),) if on_synthetic_data(study) else ()
    age, eta = age_of(progress, now), _eta(progress)
    counts = {words: counts_of(progress, glyphs, words=words) for words in (True, False)}
    tries = [
        (Span(size, "muted"), Span(" "), *counts[True], *eta),
        (Span(size, "muted"), Span(" "), *counts[False], *eta),
        (*counts[False], *eta),
        counts[False],
    ]
    for middle in tries:
        room = width - 4 - width_of(middle) - width_of(age) - width_of(mark)
        if room >= min(width_of((Span(name),)), 24) or middle is tries[-1]:
            break
    shown = fit(name, min(width_of((Span(name),)), max(4, room)), glyphs.ellipsis)
    left = (Span(" "), Span(shown, "strong"), *mark, *middle)
    return (*padded(left, width - width_of(age) - 1), *age, Span(" "))
