r"""The report as LaTeX tables, to be read by \input: booktabs, columns aligned by siunitx.

The preamble needs \usepackage{booktabs} and \usepackage{siunitx}; nothing else.
"""

import math
from collections.abc import Iterator
from typing import TextIO

from icckd.report.cells import Scale, p_text, scale_of
from icckd.report.methods import methods
from icckd.report.notes import bound_text, incomplete, seeds_text, synthetic, verdict_text
from icckd.report.text import display, write_lines
from icckd.results.read import Results
from icckd.results.types import Comparison, StudyInfo

METRICS_PER_TABLE = 3
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\ensuremath{<}", ">": r"\ensuremath{>}", "|": r"\ensuremath{|}",
    "±": r"\ensuremath{\pm}", "…": r"\dots{}", "–": "--", '"': "''", "`": r"\`{}",
    "→": r"\ensuremath{\to}", "Δ": r"\ensuremath{\Delta}", "−": r"\ensuremath{-}", "\0": "{}",
}  # fmt: skip


def write_latex(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write a table of the primary metric with its verdicts, tables of the others, the methods."""
    rows = {(row.arm, row.metric): row for row in results.comparisons(study)}
    others = [metric for metric in study.metrics if metric != study.primary]
    measured = [m for m in others if any(rows[arm.name, m].n for arm in study.arms)]
    lines = [
        f"% study {_comment(study.name)}, revision {_comment(study.revision)}",
        r"% needs \usepackage{booktabs} and \usepackage{siunitx}",
        *_primary(results, study, rows),
    ]
    for start in range(0, len(measured), METRICS_PER_TABLE):
        lines += ["", *_others(study, rows, measured[start : start + METRICS_PER_TABLE])]
    lines += ["", r"\paragraph{Methods.}", plain(methods(results, study))]
    write_lines(out, lines)


def plain(text: str) -> str:
    """Return text that LaTeX prints as it is; letters beyond Latin-1 become question marks."""
    kept = display(text, 8000).replace("--", "-\0-")
    return "".join(
        _SPECIAL.get(c, c if c.isascii() or (c.isalpha() and ord(c) < 256) else "?") for c in kept
    )


def _comment(text: str) -> str:
    return display(text).encode("ascii", "replace").decode()


def _primary(
    results: Results, study: StudyInfo, rows: dict[tuple[str, str], Comparison]
) -> Iterator[str]:
    mine = [rows[arm.name, study.primary] for arm in study.arms]
    scale = scale_of(mine)
    number = _format([v for row in mine for v in (row.mean, row.spread)], scale)
    signed = _format([v for row in mine for v in (row.difference, row.low, row.high)], scale)
    yield r"\begin{table*}"
    yield r"\centering"
    yield rf"\caption{{{_caption(results, study)}}}"
    yield rf"\label{{tab:{''.join(c for c in study.name if c.isalnum() or c in '-.')}}}"
    yield (
        rf"\begin{{tabular}}{{@{{}}l S[table-format=2.0] {number} {number} {signed} {signed}"
        r" {@{\,}} " + signed + r" S[retain-explicit-plus, table-format=+1.2] l l@{}}"
    ).replace(r"{@{\,}}", r"@{\,}")
    yield r"\toprule"
    unit = rf" (\si{{{_unit(scale)}}})" if scale.unit else ""
    heads = ["{$n$}", f"{{mean{unit}}}", "{SD}", "{diff.}", r"\multicolumn{2}{c}{95\,\% interval}",
             "{$d_z$}", "{$p$ (Holm)}", "verdict"]  # fmt: skip
    yield " & ".join(["arm", *heads]) + r" \\"
    yield r"\midrule"
    for arm, row in zip(study.arms, mine, strict=True):
        yield " & ".join([plain(arm.name), *_primary_cells(study, row, scale)]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table*}"


def _primary_cells(study: StudyInfo, row: Comparison, scale: Scale) -> list[str]:
    is_judged = row.arm in study.family
    return [
        str(row.n) if row.n else "{--}",
        _number(row.mean, scale) if not row.never else rf"{{{row.never} never}}",
        _number(row.spread, scale),
        _signed(row.difference, scale),
        _signed(row.low, scale),
        _signed(row.high, scale),
        "{--}" if row.effect_size is None else f"{row.effect_size:+.2f}",
        plain(p_text(row.p_adjusted)) if is_judged else "",
        plain(_verdict(row)) if is_judged else "",
    ]


def _verdict(row: Comparison) -> str:
    """Return the verdict in few letters: columns are narrow, and the caption explains."""
    if row.more_seeds is not None:
        return f"undecided (+{row.more_seeds})"
    return verdict_text(row).removeprefix("the part ").removesuffix(" to the baseline")


def _others(
    study: StudyInfo, rows: dict[tuple[str, str], Comparison], metrics: list[str]
) -> Iterator[str]:
    scales = {
        metric: scale_of([rows[arm.name, metric] for arm in study.arms]) for metric in metrics
    }
    columns = []
    for metric in metrics:
        mine = [rows[arm.name, metric] for arm in study.arms]
        values = [v for row in mine for v in (row.mean, row.spread)]
        changes = [v for row in mine for v in (row.difference, row.low, row.high)]
        columns.append(
            f"{_format(values, scales[metric])} {_format(values, scales[metric])}"
            f" {_format(changes, scales[metric])}"
        )
    yield r"\begin{table*}"
    yield r"\centering"
    yield rf"\caption{{{_caption_of_others(study)}}}"
    yield rf"\begin{{tabular}}{{@{{}}l {' '.join(columns)}@{{}}}}"
    yield r"\toprule"
    yield " & ".join(["", *(_group(metric, scales[metric]) for metric in metrics)]) + r" \\"
    for position in range(len(metrics)):
        yield rf"\cmidrule(lr){{{3 * position + 2}-{3 * position + 4}}}"
    yield " & ".join(["arm", *["{mean}", "{SD}", "{diff.}"] * len(metrics)]) + r" \\"
    yield r"\midrule"
    for arm in study.arms:
        cells = [plain(arm.name)]
        for metric, scale in scales.items():
            row = rows[arm.name, metric]
            cells += [
                rf"{{{row.never} never}}" if row.never else _number(row.mean, scale),
                _number(row.spread, scale),
                _signed(row.difference, scale),
            ]
        yield " & ".join(cells) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table*}"


def _group(metric: str, scale: Scale) -> str:
    unit = rf" (\si{{{_unit(scale)}}})" if scale.unit else ""
    return rf"\multicolumn{{3}}{{c}}{{{plain(metric)}{unit}}}"


def _caption(results: Results, study: StudyInfo) -> str:
    done = results.progress(study).trials
    kind = "the confidence sequence" if study.is_sequential else "Student's t"
    tests = "anytime-valid p" if study.is_sequential else "paired t tests"
    alike = ""
    if study.smallest_effect is not None:
        how = "interval inside" if study.is_sequential else "two one-sided tests at 0.05 against"
        alike = f" Equivalent: {how} ±{bound_text(study)}."
    lost = " ".join(incomplete(results, study))
    question = f"{study.question} " if study.question else ""
    return plain(
        f"{question}Outcome {study.primary} after the last epoch, the test set used once. n counts"
        f" seeds ({seeds_text(study.seeds)}), each a teacher trained anew; {done.complete} of"
        f" {done.total} trials complete{synthetic(study)}. SD: standard deviation over seeds."
        f" Difference: arm minus"
        f" {study.baseline} over equal seeds, with the 95 % interval of {kind} on the paired"
        f" differences. d_z: standardized paired difference with Hedges' correction. p: {tests},"
        f" adjusted by Holm over the {len(study.family)} arms of the family; verdicts are about the"
        f" part; (+k): about k more seeds would decide.{alike} {lost}".strip()
    )


def _caption_of_others(study: StudyInfo) -> str:
    return plain(
        f"Further outcomes over seeds ({seeds_text(study.seeds)}){synthetic(study)}: mean,"
        f" standard deviation, and mean difference from {study.baseline} over equal seeds. Not"
        " corrected for multiple comparisons."
    )


def _unit(scale: Scale) -> str:
    names = {"%": r"\percent", "s": r"\second", "GiB": r"\text{GiB}", "MiB": r"\text{MiB}",
             "KiB": r"\text{KiB}", "bytes": r"\text{bytes}"}  # fmt: skip
    return names.get(scale.unit, rf"\text{{{plain(scale.unit)}}}")


def _format(values: list[float | None], scale: Scale) -> str:
    """Return the siunitx column that holds all values."""
    known = [v / scale.factor for v in values if v is not None and math.isfinite(v)]
    digits = max((len(f"{abs(v):.0f}") for v in known), default=1)
    sign = "+" if any(v < 0 for v in known) else ""
    options = "retain-explicit-plus, group-minimum-digits=9"
    return f"S[{options}, table-format={sign}{digits}.{scale.decimals}]"


def _number(value: float | None, scale: Scale) -> str:
    return "{--}" if value is None else scale.value(value)


def _signed(value: float | None, scale: Scale) -> str:
    return "{--}" if value is None else scale.difference(value)
