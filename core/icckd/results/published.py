"""Published CIFAR-100 accuracies, kept as context beside our results and never as a baseline.

`published.toml` holds them with source, reporting rule and footnotes.
"""

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from icckd.results.types import Table

SEPARATOR = " -> "


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published number.

    Attributes:
        teacher: Name of the network, as in a study file.
        student: The same of the student.
        method: As its authors call it, or `teacher alone`, `student alone`.
        top1: Test accuracy, percent.
        spread: What is printed behind a plus-minus sign, in points; None where nothing is.
        source: Where the number was read.
        rule: Which epoch it is of, as far as the source says.
        work: The work that the source belongs to.
        remark: What a reader must know about all numbers of that source.
        footnote: The same about this number.
    """

    teacher: str
    student: str
    method: str
    top1: float
    spread: float | None
    source: str
    rule: str
    work: str
    remark: str
    footnote: str


@cache
def published() -> tuple[Published, ...]:
    """Return every published number, method by method."""
    tables = tomllib.loads(files("icckd.results").joinpath("published.toml").read_text("utf-8"))
    return tuple(
        _number(pair, row, tables["source"][row["source"]])
        for row in tables["row"]
        for pair in row["top1"]
    )


def published_for(teacher: str, student: str) -> tuple[Published, ...]:
    """Return what was published about a pair of networks."""
    return tuple(n for n in published() if (n.teacher, n.student) == (teacher, student))


def published_table() -> Table:
    """Return all of it as a table, a row a number."""
    columns = tuple(field.name for field in fields(Published))
    return Table(
        columns=columns,
        rows=tuple(tuple(getattr(number, name) for name in columns) for number in published()),
    )


def _number(pair: str, row: dict[str, Any], source: dict[str, str]) -> Published:
    teacher, student = pair.split(SEPARATOR)
    return Published(
        teacher=teacher,
        student=student,
        method=row["method"],
        top1=row["top1"][pair],
        spread=row.get("spread", {}).get(pair),
        source=source["title"],
        rule=source["rule"],
        work=source["work"],
        remark=source["remark"],
        footnote=row.get("footnote", {}).get(pair, ""),
    )
