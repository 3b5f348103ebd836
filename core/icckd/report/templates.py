"""Reports written by jinja2 templates in which everything that is printed is escaped.

Names and titles in a report are untrusted. So every value that a template prints is escaped by the
rule of its markup language, without being asked: in macros, filters and loops too. `|safe` is for
markup that the template itself writes.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TextIO

from jinja2 import BaseLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
from markupsafe import Markup

from icckd.report.document import ReportDocument
from icckd.report.notes import verdict_text
from icckd.report.numbers import Scale
from icckd.report.text import (
    display,
    effect_size_text,
    html_text,
    latex_text,
    markdown_text,
    p_text,
    write_lines,
)
from icckd.results.types import Comparison

MarkupKind = Literal["html", "md", "tex"]
_ESCAPES: dict[MarkupKind, Callable[[str], str]] = {
    "html": html_text,
    "md": markdown_text,
    "tex": latex_text,
}
_ANGLES = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def template_writer(
    template: str | Path, markup: MarkupKind | None = None
) -> Callable[[ReportDocument, TextIO], None]:
    """Return a writer that renders a template; it sees `document` and `study`.

    Args:
        template: A file, or the name of one of icckd's own templates.
        markup: Whose escape rule holds; by default that of the suffix before `.j2`.

    Raises:
        ValueError: The suffix is that of no markup language known here.
    """
    path = Path(template)
    suffix = path.name.removesuffix(".j2").rpartition(".")[2]
    kind = markup or next((known for known in _ESCAPES if known == suffix), None)
    if kind is None:
        raise ValueError(f"{path.name}: a template is one of {', '.join(_ESCAPES)}, not {suffix!r}")

    def write(document: ReportDocument, out: TextIO) -> None:
        found = _environment(kind, None if isinstance(template, str) else path.parent)
        text = found.get_template(path.name).render(document=document, study=document.study)
        write_lines(out, text.rstrip("\n").split("\n"))

    return write


@cache
def _environment(kind: MarkupKind, folder: Path | None) -> Environment:
    escape = _ESCAPES[kind]

    def finalize(value: Any) -> Markup:
        return value if isinstance(value, Markup) else Markup(escape(str(value)))

    package = PackageLoader("icckd.report", "templates")
    loader: BaseLoader = package if folder is None else FileSystemLoader(folder)
    options: dict[str, Any] = _ANGLES if kind == "tex" else {}
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters.update(
        comment=_comment,
        label=_label,
        effect_size=effect_size_text,
        p_value=p_text,
        short_verdict=_short_verdict,
        siunitx_column=_siunitx_column,
        siunitx_unit=_siunitx_unit,
    )
    return environment


def _comment(text: str) -> Markup:
    """Return what a LaTeX comment may hold."""
    return Markup(display(text).encode("ascii", "replace").decode())


def _label(text: str) -> Markup:
    """Return what the name of a LaTeX label may hold."""
    return Markup("".join(c for c in text if c.isalnum() or c in "-."))


def _short_verdict(row: Comparison) -> str:
    """Return the verdict in few letters: columns are narrow, and the caption explains."""
    if row.more_seeds is not None:
        least = row.more_seeds_least
        more = row.more_seeds if least in (None, row.more_seeds) else f"{least}-{row.more_seeds}"
        return f"{'too few seeds' if row.why else 'undecided'} (+{more})"
    return verdict_text(row).removeprefix("the part ").removesuffix(" to the baseline")


def _siunitx_unit(scale: Scale) -> Markup:
    names = {"%": r"\percent", "s": r"\second"}
    return Markup(names.get(scale.unit, rf"\text{{{latex_text(scale.unit)}}}"))


def _siunitx_column(values: Sequence[float | None], scale: Scale) -> Markup:
    """Return the siunitx column that holds all values."""
    known = [v / scale.divisor for v in values if v is not None and math.isfinite(v)]
    digits = max((len(f"{abs(v):.0f}") for v in known), default=1)
    sign = "+" if any(v < 0 for v in known) else ""
    options = "retain-explicit-plus, group-minimum-digits=9"
    return Markup(f"S[{options}, table-format={sign}{digits}.{scale.decimals}]")
