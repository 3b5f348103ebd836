"""What a study asks, what is answered, and what runs: the first thing that the monitor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd_tui.text import (
    Span,
    Spans,
    arm_letter,
    arm_tone,
    display,
    duration,
    scale_for,
    wrapped,
)
from icckd_tui.theme import Glyphs

if TYPE_CHECKING:
    from icckd.results.types import Comparison, StudyInfo
    from icckd.study.records import Arm
    from icckd_tui.data import Frame

DECIDED = ("helps", "hurts", "equivalent")
DECIDE_KEY = "a"  # of the study screen: adds the seeds that should decide
_NAMED = 2  # trials that run, and questions in one sentence
_ARM = 24
_TAKING_AWAY = ("remove", "drop", "disable", "without", "no")


@dataclass(frozen=True, slots=True)
class Question:
    """A primary question of the study, and what is known about it."""

    arm: str
    metric: str
    row: Comparison | None

    @property
    def is_decided(self) -> bool:
        """Whether there is a verdict that needs no more seeds."""
        return self.row is not None and self.row.verdict in DECIDED


def questions_of(frame: Frame) -> tuple[Question, ...]:
    """Return the questions in the study's order, whatever the others are compared with now."""
    rows = frame.declared or (frame.comparisons if frame.is_declared else ())
    found = {(row.arm, row.metric): row for row in rows}
    return tuple(
        Question(each.arm, each.metric, found.get((each.arm, each.metric)))
        for each in frame.study.questions
    )


def asks(study: StudyInfo, row: Comparison) -> bool:
    """Whether a comparison answers a primary question."""
    return any((each.arm, each.metric) == (row.arm, row.metric) for each in study.questions)


def decided_text(frame: Frame) -> str:
    """Return how many questions are decided, "" where the study asks none.

    An answer that seeds to come may still change is none.
    """
    asked = questions_of(frame)
    if not asked:
        return ""
    return f"{sum(each.is_decided for each in asked)} of {len(asked)} decided"


def seeds_advised(frame: Frame) -> int | None:
    """Return how many more seeds should decide every open question; None where nobody knows."""
    found = [each.row.more_seeds for each in questions_of(frame)
             if not each.is_decided and each.row is not None]  # fmt: skip
    known = [count for count in found if count]
    return max(known) if known and len(known) == len(found) else None


def need_text(row: Comparison) -> str:
    """Return what an open question waits for, in a few words; "" where that is not known."""
    if row.why == "seeds to come":
        return f"{row.to_come} seed{'s' if row.to_come > 1 else ''} to come"
    if row.more_seeds:
        least = row.more_seeds_least
        count = f"{least} to {row.more_seeds}" if least and least < row.more_seeds else (
            f"about {row.more_seeds}")  # fmt: skip
        return f"needs {count} more seeds"
    from icckd.report.item_text import more_items_text, short_why  # not for the first paint

    return short_why(row) or more_items_text(row)


def next_step(frame: Frame) -> str:
    """Return what the open questions wait for, "" where all are decided or nobody knows."""
    waiting = [each for each in questions_of(frame) if not each.is_decided and each.row is not None]
    needs = [(each, need_text(each.row)) for each in waiting if each.row is not None]
    known = [(each, text) for each, text in needs if text]
    if not known:
        return ""
    first, text = max(known, key=lambda pair: pair[0].row.more_seeds or 0 if pair[0].row else 0)
    others = f" ({len(known) - 1} more open)" if len(known) > 1 else ""
    return f"{display(first.arm, _ARM)} {text}{others}"


def verdict_word(study: StudyInfo, row: Comparison | None) -> str:
    """Return the verdict on a part in one word; "" where nothing is judged."""
    if row is None or not asks(study, row):
        return row.verdict if row is not None else ""
    return row.verdict or "undecided"


def verdict_tone(study: StudyInfo, row: Comparison | None) -> str:
    """Return the tone of a verdict: what is decided stands out, for whichever side."""
    return "strong" if verdict_word(study, row) in DECIDED else "muted"


def letter_of(study: StudyInfo, arm: str) -> Span:
    """Return an arm's marker letter and a blank, in its color."""
    place = next((place for place, each in enumerate(study.arms) if each.name == arm), 0)
    return Span(f"{arm_letter(place)} ", arm_tone(place))


def better_tone(study: StudyInfo, row: Comparison) -> str:
    """Return "good" where the arm is better than the reference, "bad" where it is worse."""
    direction = study.metric(row.metric).direction
    if direction == "none" or not row.difference:
        return "strong"
    return "good" if (row.difference > 0) == (direction == "higher") else "bad"


def sign_text(frame: Frame, arm: Arm, row: Comparison, glyphs: Glyphs) -> str:
    """Return what the sign of a difference means: "+1.15: better without the margin filter"."""
    direction = frame.study.metric(row.metric).direction
    if direction == "none" or not row.difference:
        return ""
    better = (row.difference > 0) == (direction == "higher")
    scale = scale_for(row.unit, [row.mean])
    number = glyphs.signed(scale.difference(row.difference))
    part = part_of(arm)
    if frame.is_declared and part:
        how = f"{'better' if better else 'worse'} without {part}"
    else:
        how = f"{'better' if better else 'worse'} than {display(frame.reference, _ARM)}"
    return f"{number}: {how}"


def part_of(arm: Arm) -> str:
    """Return the name of the part that an ablation takes away, "" for any other arm."""
    verb, _, rest = display(arm.title, 80).partition(" ")
    return rest.strip() if arm.role == "ablation" and verb.lower() in _TAKING_AWAY else ""


# The sentences.


_INDENT = 10  # cells before each sentence


def answer_lines(frame: Frame, width: int, most: int, glyphs: Glyphs) -> list[Spans]:
    """Return what is asked, answered and running, a sentence each, in at most `most` lines.

    Where there is room, every question's full sentence follows what is answered.
    """
    asked, runs = (Span(_asked(frame)),), _running(frame, glyphs)
    count, short = _count(frame), _answered(frame, glyphs)
    long = [line for spans in _sentences(frame, glyphs) for line in _told_in(width, "", spans, 3)]
    tries = (
        [*_told_in(width, "Asked", asked, 2), *_told_in(width, "Answered", count, 2), *long,
         *_told_in(width, "Runs", runs, 2)],
        [*_told_in(width, "Asked", asked, 2), *_told_in(width, "Answered", short, 3),
         *_told_in(width, "Runs", runs, 2)],
        [*_told_in(width, "Asked", asked, 1), *_told_in(width, "Answered", short, most - 2),
         *_told_in(width, "Runs", runs, 1)],
    )  # fmt: skip
    return next((lines for lines in tries if len(lines) <= most), tries[-1])[:most]


def _told_in(width: int, word: str, spans: Spans, most: int) -> list[Spans]:
    """Return a sentence behind its word in at most so many lines, all as far to the right."""
    lines = wrapped(spans, width - _INDENT, max(1, most), hang=0)
    heads = [
        Span(f" {word if not place else '':<{_INDENT - 1}}", "key") for place in range(len(lines))
    ]
    return [(head, *line) for head, line in zip(heads, lines, strict=True)]


def _asked(frame: Frame) -> str:
    question = display(frame.study.question)
    return question or f"how arms differ from {display(frame.study.baseline, _ARM)}"


def _count(frame: Frame) -> Spans:
    text = decided_text(frame)
    if not text:
        return (Span("the study asks no primary question, so that nothing is judged"),)
    step = next_step(frame)
    key = f"; {DECIDE_KEY} does that" if seeds_advised(frame) else ""
    return (Span(text, "strong"), Span(f": {step}{key}" if step else ""))


def _answered(frame: Frame, glyphs: Glyphs) -> Spans:
    """Return the answers in one sentence: how many are decided, and each in a few words."""
    asked = questions_of(frame)
    if not asked:
        return _count(frame)
    spans: list[Span] = [Span(decided_text(frame), "strong"), Span(": ")]
    for place, each in enumerate(asked[: _NAMED + 1]):
        spans += [Span(", ") if place else Span(""), *_short(frame, each, glyphs)]
    if len(asked) > _NAMED + 1:
        spans.append(Span(f", and {len(asked) - _NAMED - 1} more"))
    return tuple(spans)


def _short(frame: Frame, each: Question, glyphs: Glyphs) -> Spans:
    name = display(each.arm, _ARM)
    many = len({asked.metric for asked in frame.study.questions}) > 1
    on = f" on {display(each.metric, 30)}" if many else ""
    head = (letter_of(frame.study, each.arm), Span(f"{name}{on} "))
    if each.row is None:
        return (*head, Span("nothing yet", "muted"))
    word = verdict_word(frame.study, each.row)
    tone = verdict_tone(frame.study, each.row)
    if each.is_decided:
        return (*head, Span(f"{word}", tone))
    need = need_text(each.row)
    return (*head, Span(f"{word} ({need})" if need else word, tone))


def _sentences(frame: Frame, glyphs: Glyphs) -> list[Spans]:
    """Return the answer to each question, in the words of the report where it has any."""
    from icckd.report.answers import answers  # with results, which the first paint does without

    asked = questions_of(frame)
    told = answers(frame.study, frame.declared or frame.comparisons)
    if len(told) != len(asked):
        return [_short(frame, each, glyphs) for each in asked]
    return [_told(frame, each, text, glyphs) for each, text in zip(asked, told, strict=True)]


def _told(frame: Frame, each: Question, text: str, glyphs: Glyphs) -> Spans:
    head, colon, verdict = text.rpartition(": ")
    return (
        letter_of(frame.study, each.arm),
        Span(f"{_in_letters(head, glyphs)}{colon}"),
        Span(_in_letters(verdict, glyphs), "strong"),
    )


def _in_letters(text: str, glyphs: Glyphs) -> str:
    """Return a sentence of the report with this set's signs."""
    return display(text.replace("±", glyphs.plus_minus).replace("…", glyphs.ellipsis))


def _running(frame: Frame, glyphs: Glyphs) -> Spans:
    """Return what runs, how long the rest takes, and what went wrong."""
    progress, trials = frame.progress, frame.progress.trials
    done = f"{trials.complete} of {trials.total} trials complete"
    lost = _lost(frame, glyphs)
    if progress.session != "live":
        word = {
            "ended": "nothing, the session has ended",
            "interrupted": "nothing, the session was interrupted (icckd run resumes it)",
        }.get(progress.session, "nothing yet, no session has begun")
        return (Span(f"{word}: {done}"), *lost)
    if progress.paused:
        return (Span("paused", "warning"), Span(f": {done}"), *lost)
    if progress.stalled:
        return (Span("stalled: ", "warning"), Span(display(progress.stalled, 80)), *lost)
    spans: list[Span] = []
    running = [row for row in frame.trials if row.state == "running"]
    for row in running[:_NAMED]:
        spans += [
            letter_of(frame.study, row.arm),
            Span(f"{display(row.arm, _ARM)} s{row.seed} {display(row.stage, 12)} "
                 f"{row.epoch}/{row.epochs}, "),
        ]  # fmt: skip
    if len(running) > _NAMED:
        spans.append(Span(f"{len(running) - _NAMED} more, "))
    left = progress.eta_seconds
    about = "" if left is None else f", about {duration(left)} left"
    return (*(spans or [Span("no trial just now, ", "muted")]), Span(f"{done}{about}"), *lost)


def _lost(frame: Frame, glyphs: Glyphs) -> Spans:
    """Return how many trials failed and how many wait for nothing because of them."""
    spans: list[Span] = []
    for state in ("failed", "blocked"):
        count = getattr(frame.progress.trials, state)
        if count:
            spans += [Span("; "), Span(f"{glyphs.states[state]} {count} {state}", state)]
    first = next((row for row in frame.trials if row.state == "failed" and row.reason), None)
    if first is not None:
        where = f"{display(first.arm, _ARM)} s{first.seed}"
        spans.append(Span(f" ({where}: {display(first.reason, 80)})", "failed"))
    return tuple(spans)


def bar_text(frame: Frame) -> tuple[str, str]:
    """Return what is decided and which key acts on it, in many words and in few.

    Of a session that has ended it is the answer.
    """
    short = decided_text(frame)
    if not short:
        return "", ""
    is_over = frame.progress.session == "ended"
    asked = questions_of(frame)
    named = ", ".join(
        f"{display(each.arm, 20)} {verdict_word(frame.study, each.row)}"
        for each in asked
        if each.is_decided
    )
    step = next_step(frame)
    key = f": {DECIDE_KEY}" if step and seeds_advised(frame) else ""
    long = named if is_over and named and len(asked) <= _NAMED else short
    return f"{long}; {step}{key}" if step else long, f"{short}{key}"
