"""Published numbers beside a study's own: context, never the baseline."""

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import TextIO

from pydantic import ValidationError

from icckd.design import arms
from icckd.errors import SpecError
from icckd.report.text import write_lines
from icckd.results.published import SEPARATOR, Published, published, published_for
from icckd.results.types import StudyInfo
from icckd.spec.method import Method
from icckd.spec.study import Study

WIDTH = 100


def published_notes(study: StudyInfo) -> Iterator[str]:
    """Yield what was published about each pair of networks of a study of CIFAR-100's classes."""
    for teacher, student in _pairs(study):
        numbers = published_for(teacher, student)
        if numbers:
            values = "; ".join(f"{texts} ({source})" for source, texts in _by_source(numbers))
            yield (
                f"Published for {teacher}{SEPARATOR}{student}, as context and not as a baseline"
                f" (other code and seeds, no validation split): {values}. `icckd published` has the"
                " footnotes."
            )


def write_published(out: TextIO) -> None:
    """Write every published number, pair by pair, then sources and footnotes."""
    pairs = dict.fromkeys((number.teacher, number.student) for number in published())
    lines = [
        "Published CIFAR-100 top-1 accuracies in percent: context, not a baseline.",
        "* has a footnote below.",
    ]
    for pair in pairs:
        lines += ["", SEPARATOR.join(pair)]
        for source, texts in _by_source(published_for(*pair)):
            lines += _wrapped(f"{source}: {texts}")
    lines += ["", "sources"]
    for number in {number.source: number for number in published()}.values():
        lines += _wrapped(f"{number.source}: {number.work}; {_epoch(number)}; {number.remark}")
    lines += ["", "footnotes"]
    for number in published():
        if number.footnote:
            pair_text = f"{number.teacher}{SEPARATOR}{number.student}"
            lines += _wrapped(f"{pair_text}, {number.method}: {number.footnote}")
    write_lines(out, lines)


def _pairs(study: StudyInfo) -> tuple[tuple[str, str], ...]:
    """Return the pairs that the arms train, each once; none where the study cannot be read."""
    tables = {key: study.resolved[key] for key in Study.model_fields if key in study.resolved}
    try:
        found = arms(Study.model_validate_json(json.dumps(tables)))
    except (ValidationError, SpecError):  # written by another version: its numbers still count
        return ()
    pairs = (_pair(arm.method) for arm in found)
    return tuple(dict.fromkeys(pair for pair in pairs if pair is not None))


def _pair(method: Method) -> tuple[str, str] | None:
    data, teacher, student = method.data, method.teacher.model, method.student.model
    if data.kind != "cifar100" or data.labels != "fine":
        return None
    if teacher.kind != "cifar" or student.kind != "cifar":
        return None
    return teacher.name, student.name


def _by_source(numbers: Sequence[Published]) -> Iterator[tuple[str, str]]:
    """Yield each source with its reporting rule, and its numbers."""
    for source in dict.fromkeys(number.source for number in numbers):
        mine = [number for number in numbers if number.source == source]
        yield f"{source}, {_epoch(mine[0])}", ", ".join(map(_text, mine))


def _text(number: Published) -> str:
    spread = "" if number.spread is None else f" ± {number.spread:.2f}"
    return f"{number.method} {number.top1:.2f}{spread}{'*' if number.footnote else ''}"


def _epoch(number: Published) -> str:
    return "epoch not stated" if number.rule == "not stated" else number.rule


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
