"""Bind what a study file asks for, in the file itself: comments, layout and everything else stay.

The answer stands where the reason stood; new `[[ablation]]` tables stand behind the last one. What
comes out is read again and must say what was wanted: parsing decides, not the look of the file.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icckd.errors import SpecError
from icckd.study.ablation_plans.bind import Binder, Bound
from icckd.study.ablation_plans.items import from_toml
from icckd.study.ablation_plans.records import PlanEntry
from icckd.study.ablation_plans.write import BELOW, PROPOSED, ablation_lines, answer_lines
from icckd.study.arms import arms
from icckd.study.calibration import replace_file
from icckd.study.load import parse
from icckd.study.model import Requested, Study
from icckd.study.observed import visible
from icckd.study.origin import keys_in, statements
from icckd.study.paths import nearest

_ANSWER = ("arm", "reason", "left_out")
_COMMENT = re.compile(r"(\"(?:\\.|[^\"\\])*\"|'[^']*')|(#[^\n]*)")


def entry_of(asked: Requested) -> PlanEntry:
    """Return a requested ablation as the plan asked for it."""
    return PlanEntry(
        name=asked.name,
        component=asked.part,
        action=asked.action,
        items=tuple(from_toml(item) for item in asked.items),
        metrics=asked.metrics,
    )


def number_of(study: Study, name: str) -> int:
    """Return the place of an open requested ablation among `[[requested]]`.

    Args:
        study: The study.
        name: Its name; of several plans that have it, `SOURCE/NAME`.

    Raises:
        SpecError: There is none of that name, or several, or it is bound.
    """
    found = [
        number
        for number, each in enumerate(study.requested)
        if name in (each.name, visible(each.name, 500), f"{each.source}/{each.name}")
    ]
    if not found:
        known = [visible(each.name, 100) for each in study.requested if each.arm is None]
        hint = nearest(name, known) if known else "no requested ablation is open"
        raise SpecError(f"no requested ablation is called {visible(name, 80)!r}", hint=hint)
    still = [number for number in found if study.requested[number].arm is None]
    if not still:
        bound_to = ", ".join(study.requested[found[0]].arm or ()) or "no arm"
        raise SpecError(
            f"requested ablation {visible(name, 80)!r} is bound already, to {bound_to}",
            hint="take its arm out of the study file to bind it anew",
        )
    if len(still) > 1:
        sources = " and ".join(repr(study.requested[number].source) for number in still[:2])
        raise SpecError(
            f"several plans ask for {visible(name, 80)!r}: {visible(sources, 200)}",
            hint=f'--set "SOURCE/{visible(name, 40)}=PART"',
        )
    return still[0]


@dataclass
class StudyFile:
    """A study file in which requested ablations are bound, one after another.

    Attributes:
        path: The file.
        text: What it says so far.
    """

    path: Path
    text: str

    def __post_init__(self) -> None:
        self.study = self._read(self.text)

    def bind(self, number: int, part: str) -> Bound:
        """Bind a requested ablation to a part, or to `NONE`; the file is not written yet.

        Raises:
            SpecError: There is no such part, its items are no values of it, or the file cannot be
                edited in place.
        """
        bound = Binder(self.study).bind(entry_of(self.study.requested[number]), part)
        changed = with_answer(self.text, number, bound)
        study = self._read(changed)
        arms(study)
        self.text, self.study = changed, study
        return bound

    def save(self) -> None:
        """Put the text in the file's place, whole or not at all.

        Raises:
            SpecError: The file cannot be written.
        """
        path = self.path.resolve()
        mark = b"\xef\xbb\xbf" if path.read_bytes().startswith(b"\xef\xbb\xbf") else b""
        try:
            replace_file(path, mark + self.text.encode())
        except OSError as error:
            raise SpecError(
                f"cannot write the study {path}: {error.strerror}",
                hint="bind it where it can be written",
            ) from error

    def _read(self, text: str) -> Study:
        return parse(text, where=str(self.path))


def with_answer(text: str, number: int, bound: Bound) -> str:
    """Return a study file's text in which a requested ablation says what it comes to.

    Args:
        text: The file's text.
        number: The place of the ablation among `[[requested]]`.
        bound: What it comes to.

    Raises:
        SpecError: The tables are not written in a way that can be edited.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    changed = text if text.endswith("\n") else text + end
    changed = _answered(changed, number, answer_lines(bound), end)
    tables = [line for table in bound.tables for line in ("", *ablation_lines(table))]
    if tables:
        place = _behind_ablations(changed)
        lines = "\n".join(tables).replace("\n", end) + end
        changed = changed[:place] + lines + changed[place:]
    if _parsed(changed) != _expected(text, number, bound):
        raise SpecError(
            "the study file cannot be edited in place: [[requested]] or [[ablation]] are not"
            " written as tables of their own",
            hint="write each of them below its own [[...]] line",
        )
    return changed


def _expected(text: str, number: int, bound: Bound) -> dict[str, Any]:
    """Return the tables that the changed text must have."""
    tables = tomllib.loads(text)
    asked = tables["requested"][number]
    for key in _ANSWER:
        asked.pop(key, None)
    answer = "\n".join(answer_lines(bound))
    asked |= tomllib.loads(answer)
    if bound.tables:
        new = [
            tomllib.loads("\n".join(ablation_lines(each)))["ablation"][0] for each in bound.tables
        ]
        tables["ablation"] = [*tables.get("ablation", []), *new]
    return tables


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement of TOML: where its line begins and ends, and what it is."""

    start: int
    end: int
    text: str

    @property
    def is_header(self) -> bool:
        return self.text.startswith("[")

    @property
    def key(self) -> str:
        """The first part of its key; "" of a header."""
        if self.is_header:
            return ""
        found = re.match(r"\s*(?:\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'|[^=\"'])*", self.text)
        return str(keys_in(found[0])[0]) if found else ""


def _all(text: str) -> Iterator[_Statement]:
    for start, kept in statements(text):
        line = text.rfind("\n", 0, start) + 1
        after = text.find("\n", start + len(kept))
        yield _Statement(line, len(text) if after < 0 else after + 1, kept)


def _answered(text: str, number: int, lines: list[str], end: str) -> str:
    """Return the text with other lines in place of what a requested ablation said it comes to."""
    found = list(_all(text))
    heads = [n for n, each in enumerate(found) if _is(each, "requested")]
    if number >= len(heads):
        return text
    block = [found[heads[number]]]
    for each in found[heads[number] + 1 :]:
        if each.is_header:
            break
        block.append(each)
    old = [each for each in block if each.key in _ANSWER]
    place = old[0].start if old else block[-1].end
    new = "".join(f"{line}{end}" for text_ in lines for line in text_.split("\n"))
    pieces, at = [text[:place], new], place
    for each in old:
        kept = "".join(f"{comment}{end}" for comment in _comments(each.text))
        pieces += [text[at : each.start], kept]
        at = each.end
    rest = text[at:]
    return "".join(pieces) + _without_proposals(rest)


def _without_proposals(rest: str) -> str:
    """Return what follows an answer without the proposals that it answers."""
    lines = rest.splitlines(keepends=True)
    if not lines or lines[0].rstrip() != PROPOSED:
        return rest
    count = 1
    while count < len(lines) and lines[count].startswith(BELOW):
        count += 1
    return "".join(lines[count:])


def _comments(statement: str) -> Iterator[str]:
    """Yield the comments in a statement, which is valid TOML."""
    for found in _COMMENT.finditer(statement):
        if found[2]:
            yield found[2].rstrip()


def _is(statement: _Statement, name: str) -> bool:
    return statement.text.startswith("[[") and keys_in(statement.text.strip("[] \t\r")) == (name,)


def _behind_ablations(text: str) -> int:
    """Return where new `[[ablation]]` tables go: behind the last one, else behind the last arm."""
    found = list(_all(text))
    for name in ("ablation", "arm"):
        heads = [n for n, each in enumerate(found) if _is(each, name)]
        if heads:
            last = found[heads[-1]]
            for each in found[heads[-1] + 1 :]:
                is_inside = each.is_header and _below(each, name)
                if each.is_header and not is_inside:
                    break
                last = each
            return last.end
    return len(text)


def _below(statement: _Statement, name: str) -> bool:
    keys = keys_in(statement.text.strip("[] \t\r"))
    return len(keys) > 1 and keys[0] == name
