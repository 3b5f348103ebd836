"""Alerts: that a verdict fell, a stage failed, or a study's session ended, in one line each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icckd.configuration import What
from icckd.report.answers import answers
from icckd.report.text import display
from icckd.results.types import Comparison, StudyInfo, Verdict

DECIDED: tuple[Verdict, ...] = ("helps", "hurts", "equivalent")
_LONGEST = 300
_TITLE = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert about a study, at a time in Unix seconds."""

    what: What
    study: str
    text: str
    time: float

    @property
    def line(self) -> str:
        """The alert in one harmless line."""
        return display(f"{self.study}: {self.text}", _LONGEST)

    @property
    def as_json(self) -> str:
        """The alert as a JSON object."""
        return json.dumps(
            {
                "study": display(self.study),
                "what": self.what,
                "text": display(self.text, _LONGEST),
                "time": self.time,
            }
        )


Verdicts = Mapping[tuple[str, str], Verdict]


def verdicts_of(study: StudyInfo, rows: Sequence[Comparison]) -> Verdicts:
    """Return the verdicts that have fallen, by arm and outcome."""
    asked = {(each.arm, each.metric) for each in study.questions}
    found = {(row.arm, row.metric): row.verdict for row in rows if row.verdict in DECIDED}
    return {key: verdict for key, verdict in found.items() if key in asked}


def fallen(study: StudyInfo, before: Verdicts, rows: Sequence[Comparison]) -> list[str]:
    """Return a sentence for each verdict that fell, or changed, since `before`."""
    now = verdicts_of(study, rows)
    told = answers(study, rows)
    asked = [(each.arm, each.metric) for each in study.questions]
    sentences = dict(zip(asked, told, strict=True)) if len(told) == len(asked) else {}
    return [
        sentences.get(key, f"{key[0]} on {key[1]}: {verdict}")
        for key, verdict in now.items()
        if before.get(key) != verdict
    ]


def terminal_sequence(text: str) -> str:
    """Return what makes a terminal ring, and show a text as title and as notification.

    Bell, title (OSC 2), and notifications of iTerm2, ConEmu and Windows Terminal (OSC 9) and of
    rxvt, foot and others (OSC 777); a terminal that does not know one of them ignores it.
    """
    plain = display(text, _LONGEST).replace(";", ",")
    title = f"\x1b]2;{plain[:_TITLE]}\x1b\\"
    return f"\x07{title}\x1b]9;{plain}\x1b\\\x1b]777;notify;icckd;{plain}\x1b\\"
