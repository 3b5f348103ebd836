"""The formats of a report, a row each: built in, from other packages, registered at run time.

Another package adds a format by an entry point of the group `icckd.report_formats`: its name is
that of the format, its object a `ReportFormat`. A file adds one by `register(ReportFormat(...))`.
Writers are loaded when they are first used, so that this module needs next to nothing.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from icckd.errors import MachineError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    from icckd.report.document import ReportDocument
    from icckd.results.query import Results
    from icckd.results.types import StudyInfo

ENTRY_POINTS = "icckd.report_formats"
DEFAULT = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """A way to write a report: exactly one of the two writers is given.

    Attributes:
        name: What `icckd report --format` calls it.
        suffix: Files with this suffix are written so, such as `.md`; "" for none.
        write: Writes a report as text.
        write_file: Writes a report into a file, where the format is not text.
    """

    name: str
    suffix: str = ""
    write: "Callable[[ReportDocument, TextIO], None] | None" = None
    write_file: "Callable[[ReportDocument, Path], None] | None" = None

    def __post_init__(self) -> None:
        if (self.write is None) == (self.write_file is None):
            raise ValueError(f"report format {self.name!r} needs one writer: write or write_file")


def _load(name: str) -> Callable[..., Any]:
    """Return a function that imports another one, `module:function`, when it is called."""

    def call(*arguments: Any) -> None:
        module, _, function = name.partition(":")
        getattr(importlib.import_module(module), function)(*arguments)

    return call


def _template(name: str) -> "Callable[[ReportDocument, TextIO], None]":
    def write(document: "ReportDocument", out: TextIO) -> None:
        from icckd.report.templates import template_writer

        template_writer(name)(document, out)

    return write


BUILT_IN = (
    ReportFormat(name="table", write=_load("icckd.report.terminal:write_report_table")),
    ReportFormat(name="md", suffix=".md", write=_template("report.md.j2")),
    ReportFormat(name="latex", suffix=".tex", write=_template("report.tex.j2")),
    ReportFormat(name="html", suffix=".html", write=_template("report.html.j2")),
    ReportFormat(name="csv", suffix=".csv", write=_load("icckd.report.records:write_csv")),
    ReportFormat(name="json", suffix=".json", write=_load("icckd.report.records:write_json")),
    ReportFormat(name="junit", suffix=".xml", write=_load("icckd.report.junit:write_junit")),
    ReportFormat(
        name="parquet", suffix=".parquet", write_file=_load("icckd.report.records:write_parquet")
    ),
)
_REGISTERED: dict[str, ReportFormat] = {row.name: row for row in BUILT_IN}


def register(row: ReportFormat) -> ReportFormat:
    """Add a format.

    Raises:
        UsageError: There is a format of that name.
    """
    if row.name in format_names():
        raise UsageError(f"there is a report format {row.name!r} already", hint="rename yours")
    _REGISTERED[row.name] = row
    return row


def registered_names() -> list[str]:
    """Return the names of the formats that are built in, or registered in this process."""
    return list(_REGISTERED)


def format_of_plugin(results: "Results", study: "StudyInfo", name: str) -> ReportFormat | None:
    """Return a format that a plug-in of a study registers: a helper process writes it.

    Raises:
        MachineError: The plug-in is not where it was when the study was planned.
    """
    if name not in study.plugins.formats():
        return None
    where = {
        "folder": str(results.folder.root), "study": study.name, "revision": study.revision,
    }  # fmt: skip

    def write(document: "ReportDocument", out: TextIO) -> None:
        out.write(study.plugins.written(name, where).decode("utf-8", "replace"))

    return ReportFormat(name=name, write=write)


def _entry_points() -> "EntryPoints":
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    return entry_points(group=ENTRY_POINTS)


def format_names() -> list[str]:
    """Return the names of all formats, the built-in ones first."""
    others = [point.name for point in _entry_points()]
    return list(dict.fromkeys([*_REGISTERED, *others]))


def report_format(name: str) -> ReportFormat:
    """Return the format of that name.

    Raises:
        UsageError: There is no such format.
        MachineError: The package that brings it cannot be loaded.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    for point in _entry_points():
        if point.name != name:
            continue
        try:
            row = point.load()
        except Exception as error:  # whatever another package's import raises
            raise MachineError(
                f"report format {name!r} cannot be loaded from {point.value}: {error}",
                hint="update or remove the package that brings it",
            ) from error
        if not isinstance(row, ReportFormat) or row.name != name:
            raise MachineError(
                f"report format {name!r}: {point.value} is not a ReportFormat of that name",
                hint="update or remove the package that brings it",
            )
        _REGISTERED[name] = row
        return row
    from icckd.study.paths import nearest

    raise UsageError(f"there is no report format {name!r}", hint=nearest(name, format_names()))


def format_of_suffix(suffix: str) -> ReportFormat | None:
    """Return the format of files with a suffix, None for unknown ones.

    Raises:
        MachineError: The package that brings a format cannot be loaded.
    """
    for name in format_names():
        row = report_format(name)
        if suffix and row.suffix == suffix.lower():
            return row
    return None


def write_report(results: "Results", study: "StudyInfo", name: str, out: TextIO) -> None:
    """Write the report of a study as text.

    Raises:
        UsageError: There is no such format, or it is not text.
    """
    from icckd.report.document import build_document

    write = report_format(name).write
    if write is None:
        raise UsageError(f"a report cannot be printed as {name}", hint="add -o FILE")
    write(build_document(results, study), out)
