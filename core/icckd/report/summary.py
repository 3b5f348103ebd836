"""What `icckd run` ends with: question, answers, the numbers behind them, and how to go on.

About ten lines; `icckd report` has the whole table.
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from icckd.report.answers import answers
from icckd.report.notes import missing_trials, seconds_of_seed
from icckd.report.text import (
    aligned,
    difference_cell,
    difference_unit,
    display,
    mean_cell,
    origin_suffix,
    scale_of,
    wrapped,
    write_lines,
)
from icckd.results.types import Comparison, StudyInfo

if TYPE_CHECKING:
    from icckd.results.query import Results

WIDTH = 79
"""Of a terminal of 80 columns."""
MOST_ARMS = 8
MOST_MISSING = 3


def write_summary(results: "Results", study: StudyInfo, out: TextIO) -> None:
    """Write what a study came to."""
    rows = [row for row in results.comparisons(study) if row.metric == study.primary]
    trials = results.trial_counts(study)
    told = answers(study, results.comparisons(study), seconds_of_seed(results, study))
    lines = [
        *wrapped(display(study.question or study.name, 2000), "", "", WIDTH),
        *(line for answer in told for line in wrapped(answer, "  ", "    ", WIDTH)),
        f"study {display(study.name)}: {len(study.arms)} arms x {len(study.seeds)} seeds,"
        f" {trials.complete} of {trials.total} trials complete{origin_suffix(study)}",
        *_numbers(study, rows),
        *(line for text in _missing(results, study) for line in wrapped(text, "  ", "    ", WIDTH)),
    ]
    write_lines(out, lines)


def _numbers(study: StudyInfo, rows: list[Comparison]) -> Iterator[str]:
    """Yield the primary outcome of each arm, and its difference from the baseline."""
    shown = [row for row in rows if row.n][:MOST_ARMS]
    if not shown:
        return
    scale = scale_of(rows)
    cells = [[display(row.arm, 30), mean_cell(row, scale), difference_cell(row, scale)]
             for row in shown]  # fmt: skip
    unit = f" in {scale.unit}" if scale.unit else ""
    difference = f", difference in{difference_unit(scale.unit)}" if scale.unit else ", difference"
    yield f"{display(study.primary)}{unit}: mean ± standard deviation (seeds){difference}"
    yield from (f"  {line}" for line in aligned(cells))
    if len(rows) > len(shown):
        yield f"  and {len(rows) - len(shown)} more arms"


def _missing(results: "Results", study: StudyInfo) -> Iterator[str]:
    found = list(missing_trials(results, study))
    yield from found[:MOST_MISSING]
    if len(found) > MOST_MISSING:
        yield f"and {len(found) - MOST_MISSING} more lines of what is missing"


def next_commands(
    results: "Results", study: StudyInfo, run: Sequence[str]
) -> list[tuple[str, str]]:
    """Return three commands to go on with, each with what it is for.

    Args:
        results: Where the study is.
        study: The study.
        run: What the user ran: the study file and overrides.
    """
    name = shlex.quote(display(study.name))
    failed = next((t for t in results.trials(study) if t.state == "failed"), None)
    first = []
    if failed is not None:
        trial = shlex.quote(f"{display(failed.arm)}/{failed.seed}")
        first = [(f"icckd logs {trial} --study {name}", "what the failed trial printed")]
    elif more := _more_seeds(results, study):
        again = display(shlex.join(run), 1000)
        first = [(f"icckd run {again} --add-seeds {more}", "decides what is open")]
    return [
        *first,
        (f"icckd report {name}", "the whole table"),
        (f"icckd watch {name}", "curves on a full screen"),
        (f"icckd report {name} -o report.html", "a page to share"),
    ][:3]


def _more_seeds(results: "Results", study: StudyInfo) -> int | None:
    """Return how many more seeds would decide every question, if some are open and it is known."""
    asked = {(each.arm, each.metric) for each in study.questions}
    rows = [row for row in results.comparisons(study) if (row.arm, row.metric) in asked]
    counts = [row.more_seeds for row in rows if row.more_seeds is not None]
    return max(counts, default=None)
