"""The report as JUnit XML, which every service for continuous integration shows as tests.

Each gate is a test case, and fails where its condition does not hold, with the comparison as
message. Each primary question is one, too: it passes with a verdict and is skipped without one, for
what is undecided is no failure. The form is the strictest in use, that of Ant's JUnit task
(JUnit.xsd by Windy Road), whose files other readers take as well.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from icckd.report.document import ReportDocument
from icckd.report.notes import verdict_text
from icckd.report.text import display
from icckd.results.types import Comparison

LONGEST = 4000
"""Letters of a message or a sentence."""
_DECIDED = ("helps", "hurts", "equivalent")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A test case: at most one of failure and skipped is set, with details of it."""

    name: str
    failure: str = ""
    skipped: str = ""
    details: tuple[str, ...] = ()


def write_junit(document: ReportDocument, out: TextIO) -> None:
    """Write one suite of the gates asked for, and one of the primary questions."""
    root = Element("testsuites")
    if document.gates:
        cases = [
            _Case(
                name=gate.text,
                failure="; ".join([gate.failure, *gate.comparisons]) if gate.failure else "",
                details=gate.comparisons,
            )
            for gate in document.gates
        ]
        _add_suite(root, document, "gates", cases)
    _add_suite(root, document, "questions", _questions(document))
    indent(root)
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    ElementTree(root).write(out, encoding="unicode", short_empty_elements=True)
    out.write("\n")


def _questions(document: ReportDocument) -> list[_Case]:
    study = document.study
    rows = {(row.arm, row.metric): row for row in document.comparisons}
    asked = [q for q in study.questions if q.arm in study.family and (q.arm, q.metric) in rows]
    found = [rows[question.arm, question.metric] for question in asked]
    said = document.answers or tuple(map(verdict_text, found))
    return [_question(row, text) for row, text in zip(found, said, strict=True)]


def _question(row: Comparison, text: str) -> _Case:
    is_decided = row.verdict in _DECIDED
    name = f"{row.arm}: {row.metric}"
    return _Case(name=name, skipped="" if is_decided else text, details=(text,))


def _add_suite(root: Element, document: ReportDocument, kind: str, cases: Sequence[_Case]) -> None:
    study = document.study
    suite = SubElement(
        root,
        "testsuite",
        name=_token(f"icckd {kind} of {study.name}"),
        package="icckd",
        id=str(len(root)),
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(study.planned_at)),
        hostname="localhost",
        tests=str(len(cases)),
        failures=str(sum(bool(case.failure) for case in cases)),
        errors="0",
        skipped=str(sum(bool(case.skipped) for case in cases)),
        time="0",
    )
    properties = SubElement(suite, "properties")
    for name, value in (
        ("study", study.name),
        ("revision", study.revision),
        ("question", study.question),
        ("baseline", study.baseline),
        ("complete trials", f"{document.complete} of {document.total}"),
    ):
        SubElement(properties, "property", name=name, value=_text(value))
    for case in cases:
        element = SubElement(
            suite,
            "testcase",
            name=_token(case.name),
            classname=_token(f"icckd.{study.name}.{kind}"),
            time="0",
        )
        if case.failure:
            failure = SubElement(element, "failure", message=_text(case.failure), type="icckd.gate")
            failure.text = "\n".join(map(_text, case.details))
        elif case.skipped:
            SubElement(element, "skipped", message=_text(case.skipped))
    lines = [f"{case.name}: {text}" for case in cases for text in case.details]
    SubElement(suite, "system-out").text = "\n".join(map(_text, lines))
    SubElement(suite, "system-err")


def _token(text: str) -> str:
    """Return what an attribute of type token holds: no two blanks beside each other."""
    return " ".join(_text(text).split()) or "-"


def _text(text: str) -> str:
    """Return text that XML 1.0 may hold and a terminal may show."""
    return "".join(c for c in display(text, LONGEST) if ord(c) & 0xFFFE != 0xFFFE)
