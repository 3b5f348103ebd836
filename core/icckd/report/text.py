"""Text for terminals and files: untrusted names made harmless, cells of tables, aligned columns."""

import contextlib
import html
import re
import shutil
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import TextIO

from icckd.report.numbers import Scale, scale_for
from icckd.results.types import Comparison, StudyInfo, on_synthetic_data
from icckd.results.values import FORMULA

WIDTH = 100
"""Columns of what the command line prints, on wider terminals and into files."""
NARROWEST = 60
_width: ContextVar[int] = ContextVar("width", default=WIDTH)
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~$"})
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\ensuremath{<}", ">": r"\ensuremath{>}", "|": r"\ensuremath{|}",
    "±": r"\ensuremath{\pm}", "…": r"\dots{}", "–": "--", '"': "''", "`": r"\`{}",
    "→": r"\ensuremath{\to}", "Δ": r"\ensuremath{\Delta}", "−": r"\ensuremath{-}", "\0": "{}",
}  # fmt: skip
_PLAIN = str.maketrans({"±": "+-", "…": "...", "–": "-"})


def display(text: str, limit: int = 500) -> str:
    r"""Return text that is safe to print: one line, no control, escape or direction characters.

    >>> display("a\x1b[31mb\n")
    'a[31mb '
    """
    kept = "".join(
        " " if character in "\t\n\r" else character
        for character in text[: 4 * limit]
        if character in "\t\n\r" or unicodedata.category(character) not in _INVISIBLE
    )
    return kept if len(kept) <= limit else f"{kept[: limit - 1]}…"


def is_formula(text: str) -> bool:
    """Whether a spreadsheet that opens a CSV file would take a cell's text for a formula.

    >>> [is_formula(text) for text in ("=1+1", "@SUM(A1)", "-cmd", "-1+2", "-1+cmd|' /C calc'!A0")]
    [True, True, True, True, True]
    >>> [is_formula(text) for text in ("-0.5", "+.5", "-1e-5", "-0.5 ± 0.1", "a=b", "")]
    [False, False, False, False, False, False]
    """
    return re.match(FORMULA, text) is not None


def html_text(text: str) -> str:
    """Return text that a browser shows as it is."""
    return html.escape(display(text, 8000))


def markdown_text(text: str) -> str:
    """Return text that Markdown prints as it is."""
    return display(text, 4000).translate(_MARKDOWN)


def latex_text(text: str) -> str:
    """Return text that LaTeX prints as it is; letters beyond Latin-1 become question marks."""
    kept = display(text, 8000).replace("--", "-\0-")
    return "".join(
        _LATEX.get(c, c if c.isascii() or (c.isalpha() and ord(c) < 256) else "?") for c in kept
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; the first row is its head, cells are plain text."""
    head, *body = ([markdown_text(cell) for cell in row] for row in rows)
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body]]


def aligned(rows: Sequence[Sequence[str]], gap: int = 3) -> list[str]:
    """Return the lines of a table in plain text, columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    blank = " " * gap
    return [
        blank.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


@contextlib.contextmanager
def as_wide_as(out: TextIO) -> Iterator[None]:
    """Let lines that are made within fit a terminal that is narrower than `WIDTH`."""
    width = WIDTH
    if out.isatty():
        width = max(NARROWEST, min(WIDTH, shutil.get_terminal_size().columns - 1))
    token = _width.set(width)
    try:
        yield
    finally:
        _width.reset(token)


def line_width() -> int:
    """Return how wide lines may be."""
    return _width.get()


def wrapped(text: str, first: str, following: str = "", width: int | None = None) -> list[str]:
    """Return a text in lines of some width; the first begins with `first`, others as they say."""
    return textwrap.wrap(
        text, width or line_width(), initial_indent=first, subsequent_indent=following or first
    ) or [first]


def write_lines(out: TextIO, lines: list[str]) -> None:
    """Write lines, in plain letters where the stream's encoding knows no others."""
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    out.write(text)


# Cells of tables: what a comparison says, with the scale of its column.


def origin_suffix(study: StudyInfo) -> str:
    """Return what is added to a study's line: synthetic data, or runs made elsewhere."""
    if study.observed is not None:
        from icckd.report import observed

        return observed.suffix(study.observed)
    return ", synthetic data" if on_synthetic_data(study) else ""


def scale_of(rows: Iterable[Comparison]) -> Scale:
    """Return the scale that fits a metric's rows."""
    rows = list(rows)
    values = [value for row in rows for value in (row.mean, row.median)]
    return scale_for(rows[0].unit if rows else "", values)


def mean_cell(row: Comparison, scale: Scale) -> str:
    """Return mean ± standard deviation (n), or the median where a target was never reached."""
    if row.n == 0:
        return "-"
    if row.never:
        never = f"{row.never} of {row.n} never"
        median = scale.value(row.median)
        return never if median == "never" else f"median {median}, {never}"
    spread = "" if row.spread is None else f" ± {scale.value(row.spread)}"
    return f"{scale.value(row.mean)}{spread} ({row.n})"


def difference_cell(row: Comparison, scale: Scale) -> str:
    """Return the paired difference and its interval, or "" without pairs."""
    pairs = "" if row.pairs == row.n else f" {row.pairs} pairs"
    pairs = " Welch, no pairs" if row.is_unpaired else pairs
    text = interval_text((row.difference, row.low, row.high), scale)
    return f"{text}{pairs}" if text else ""


def interval_text(known: tuple[float | None, float | None, float | None], scale: Scale) -> str:
    """Return an estimate and its interval, "" without an estimate."""
    middle, low, high = known
    if middle is None:
        return ""
    if low is None or high is None:
        return f"{scale.difference(middle)} [no interval yet]"
    return f"{scale.difference(middle)} [{scale.difference(low)}, {scale.difference(high)}]"


def difference_unit(unit: str) -> str:
    """Return the unit of differences, with a leading blank: "points" for percent, "" for none."""
    return {"%": " points", "1": "", "": ""}.get(unit, f" {unit}")


def effect_size_text(size: float | None) -> str:
    """Return a standardized difference, with its sign."""
    return "-" if size is None else f"{size:+.2f}"


def seeds_text(seeds: tuple[int, ...]) -> str:
    """Return seeds in words, runs of them as ranges.

    >>> seeds_text((0, 1, 2, 5)), seeds_text((3,))
    ('seeds 0-2, 5', 'seed 3')
    """
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(texts)}"


def p_text(p: float | None) -> str:
    """Return a p value with three decimals, the smallest as a bound."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"
