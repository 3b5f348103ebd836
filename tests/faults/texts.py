"""Texts that mean harm, in every place of a study where a text can be; and what harm looks like."""

import json
import unicodedata
from dataclasses import replace

from icckd.journal.events import LogLine
from tests.support.lab import ARMS, planned

MARKUP = "[bold]x[/bold] [/bad] [@click=app.quit]y[/] `a|b` *c* _d_ <script>e</script> &amp; $f$ %g"
ESCAPES = "\x1b]0;title\x07\x1b]52;c;AAAA\x07\x1b[2J\x1b[31m\x9b31m\x07\x08\r\n\x00\x7f"
BIDI = "\u202e\u2066\u200f\u061c\ufeff\u200b\u2028\u2029\ud800"
WIDE = "漢字 👩‍👩‍👧 e\u0301\u0301\u0301 ﷽ \u3000"
LATEX = "\\input{/etc/passwd}\\end{document}#~^{}"
CSV = '=HYPERLINK("x"),"\n'
TEXTS = {
    "csv": CSV,
    "all": MARKUP + ESCAPES + BIDI + WIDE + LATEX + CSV,
    "megabyte": (MARKUP + ESCAPES + BIDI) * 6000,
}


def hostile_study(lab, text):
    """A study that has been run, whose every name, title, reason and line is that text."""
    inner = text[:400].encode("utf-8", "ignore").decode()  # a digest is taken of names
    arms = tuple((name + inner, role, text, control and control + inner, changes)
                 for name, role, _, control, changes in ARMS)  # fmt: skip
    plan = planned(seeds=(0, 1, 2), arms=arms)
    study = {**plan.study, "study": {**plan.study["study"], "question": text}}
    study["family"] = [arm.name for arm in plan.arms if arm.role == "ablation"]
    plan = plan.model_copy(
        update={
            "study": study,
            "arms": tuple(replace(arm, title=text) for arm in plan.arms),
        }
    )
    with lab.finished("s1", plan, study=f"study{text}") as session:
        session.train_all(skip=[(plan.arms[1].name, 1)])
        session.train(session.stage(plan.arms[1].name, 1), end="failed", outcomes={text: 1.0})
        session.say(session.stage(plan.arms[1].name, 1, 1), "blocked", reason=text)
        session.journal.append(LogLine(text=text), LogLine(level="error", text=text))
    return plan


def harm_in(text, *, lines=True) -> list[str]:
    """Return the characters of a text that could style, move or reorder what a terminal shows."""
    kept = "\n" if lines else ""
    odd = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return sorted({repr(c) for c in set(text) if c not in kept and unicodedata.category(c) in odd})


def is_json(text) -> bool:
    json.loads(text)
    return True
