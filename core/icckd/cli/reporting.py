"""`icckd report`: print or write a report, its figures and provenance, and check its gates."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from icckd.cli.running import say
from icckd.errors import GateError, MachineError, UsageError
from icckd.report import REPORTERS
from icckd.results.formula import parse
from icckd.results.read import Results
from icckd.results.types import StudyInfo

P = ParamSpec("P")
T = TypeVar("T")
Format = Literal["table", "md", "latex", "html", "csv", "json", "parquet"]
_SUFFIXES: dict[str, Format] = {
    ".md": "md", ".tex": "latex", ".html": "html", ".csv": "csv", ".json": "json",
    ".parquet": "parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asked for."""

    output: Format | None
    file: Path | None
    figures: Path | None
    gates: tuple[str, ...]

    @property
    def format(self) -> Format:
        """The format asked for, else what the file's suffix stands for, else the table."""
        if self.output is None and self.file is not None:
            return _SUFFIXES.get(self.file.suffix.lower(), "table")
        return self.output or "table"


def report(results: Results, study: StudyInfo, wanted: Wanted) -> None:
    """Carry out a report.

    Raises:
        UsageError: A gate is no condition, or Parquet was asked for without a file.
        MachineError: A file cannot be written, or matplotlib is missing.
        GateError: A gate does not hold; the report was written all the same.
    """
    gates = [parse(text, study) for text in wanted.gates]
    written = _written(results, study, wanted)
    drawn = []
    if wanted.figures is not None:
        from icckd.report.figures import draw_figures

        drawn = _or_machine_error(draw_figures, results, study, wanted.figures)
    for outputs in (written, drawn):
        if outputs:
            from icckd.report.manifest import write_manifest

            say(f"wrote {', '.join(map(str, outputs))}")
            say(f"wrote {_or_machine_error(write_manifest, results, study, outputs)}")
    rows = {(row.arm, row.metric): row for row in results.comparisons(study)}
    failed = [gate for gate in gates if not gate.holds(rows)]
    if failed:
        raise GateError("; ".join(_failure(gate.text, gate.value(rows)) for gate in failed))


def _written(results: Results, study: StudyInfo, wanted: Wanted) -> list[Path]:
    """Print the report, or write it to the file asked for and return that."""
    if wanted.format == "parquet":
        if wanted.file is None:
            raise UsageError("Parquet needs a file", hint="add -o comparisons.parquet")
        results.write_comparisons(study, wanted.file)
        return [wanted.file]
    if wanted.file is None:
        REPORTERS[wanted.format](results, study, sys.stdout)
        return []
    text = io.StringIO()
    REPORTERS[wanted.format](results, study, text)
    _or_machine_error(wanted.file.write_text, text.getvalue(), encoding="utf-8")
    return [wanted.file]


def _failure(text: str, value: float | None) -> str:
    return f"gate {text!r} does not hold: it is {'unknown' if value is None else f'{value:.4g}'}"


def _or_machine_error(action: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    try:
        return action(*arguments, **options)
    except OSError as error:
        raise MachineError(
            f"cannot write {error.filename}: {error.strerror}", hint="choose another place"
        ) from error
