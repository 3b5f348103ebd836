"""Compare runs that a program has in memory: the statistics of reports without a study or files."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from icckd.api.results import StudyResults
from icckd.errors import IcckdError, UsageError
from icckd.imports.frames import read_frame
from icckd.imports.journals import write_study
from icckd.imports.load import ImportRequest
from icckd.journal.folder import StateFolder
from icckd.results.frames import columns_of
from icckd.results.query import Results
from icckd.results.store import Store
from icckd.study.observed import ObservedStudy

Direction = Literal["higher", "lower", "none"]


def compare(  # noqa: PLR0913  # by keyword: what is in the table, and what is asked of it
    frame: Any,
    *,
    metric: str | Sequence[str],
    arm: str = "arm",
    seed: str = "seed",
    baseline: str = "",
    direction: Direction | Mapping[str, Direction] | None = None,
    unit: str | Mapping[str, str] | None = None,
    test_cases: int | Mapping[str, int] | None = None,
    smallest_effect: float | None = None,
    adds: Sequence[str] = (),
    step: str | None = None,
    rule: str = "",
    long: tuple[str, str] = ("metric", "value"),
    item: str | None = None,
    group: str = "",
    generalise_to: Sequence[Literal["seeds", "items"]] = (),
    common_items: bool = False,
    question: str = "",
) -> StudyResults:
    """Return verdicts about runs in a table, as `icckd import` and `icckd report` would give them.

    Nothing is written into a state folder; the results have journals of their own, which go with
    them.

    Args:
        frame: A data frame of pandas or polars, an Arrow table, a dictionary of columns, or a list
            of dictionaries: a row a run, or a step of one. A missing value (None; in pandas NaN,
            too) is a run without a value, a NaN or infinite one a run that diverged.
        metric: The columns of the metrics, the primary one first.
        arm: The column that names the arm of a run.
        seed: The column of its seed: equal seeds of two arms are pairs.
        baseline: The arm that others are compared with; "" takes the first one.
        direction: Which values of a metric are better, of the primary one or by metric; None reads
            it off names such as `acc` and `loss`.
        unit: The unit of the primary metric, or units by metric: "%" shows points.
        test_cases: Of how many test cases the primary metric is a share in percent, or by metric.
        smallest_effect: Smallest difference of the primary metric that matters, in its unit.
        adds: Arms that have a part which the baseline lacks; others lack one that it has.
        step: The column of the step, where a row is a step.
        rule: Which value of a curve counts: "last", or "best:METRIC" by a validation metric.
        long: Columns of a table with a row a value: the metric's name, its value.
        item: The column that names an item, such as a question, where a row is an item of a run:
            arms are then paired by item. Without a column of seeds there is one seed.
        group: The column of what items share that err together.
        generalise_to: What verdicts speak about: seeds, items, or both; () means what varies.
        common_items: Whether arms are compared over the items that all runs share, where they saw
            different ones.
        question: What is asked.

    Raises:
        UsageError: It is no table, or options do not fit each other.
        SpecError: Rows are no runs, two give the same value, or a column is not there; the message
            names them, rows counted from 0.
    """
    metrics = (metric,) if isinstance(metric, str) else tuple(metric)
    try:
        study = read_frame(
            columns_of(frame),
            ImportRequest(
                kind="csv",
                path=Path("comparison"),
                metrics=metrics,
                arm=arm,
                seed=seed,
                step=step,
                long=long,
                rule=rule,
                directions=_by_metric(direction, metrics),
                units=_by_metric(unit, metrics),
                test_cases=_by_metric(test_cases, metrics),
                baseline=baseline,
                question=question,
                smallest_effect=_checked(smallest_effect),
                adds=tuple(adds),
                item=item,
                group=group,
                generalise_to=tuple(generalise_to),
                common_items=common_items,
            ),
        )
    except IcckdError as error:
        raise _in_python(error) from error
    return _opened(study)


def _by_metric(told: Any, metrics: Sequence[str]) -> dict[str, Any]:
    """Return what is told by metric; a word alone is about the primary one."""
    if told is None:
        return {}
    return dict(told) if isinstance(told, Mapping) else dict.fromkeys(metrics[:1], told)


def _checked(smallest_effect: float | None) -> float | None:
    if smallest_effect is not None and not 0 < smallest_effect < float("inf"):
        raise UsageError("smallest_effect must be above 0", hint="it is a size without a sign")
    return smallest_effect


def _in_python(error: IcckdError) -> IcckdError:
    """Return an error of `icckd import` with options as arguments of a call."""

    def call(text: str) -> str:
        text = re.sub(
            r"--(direction|unit|test-cases) (\S+?)=(\w+|\.\.\.)", r'\1={"\2": "\3"}', text
        )
        text = re.sub(_OPTION, _argument, text)
        for words in ("nothing was imported", "to be imported"):
            text = text.replace(words, words.replace("imported", "compared"))
        return text

    return type(error)(call(error.message), hint=call(error.hint))


_OPTION = r"--([a-z-]+)(?: ([A-Z_:]{2,}|'[^']*'|last\b|best:\S+))?"


def _argument(option: re.Match[str]) -> str:
    """Return an option, with its value where it has one, as an argument of a call."""
    name = option[1].replace("-", "_")
    return f"{name}={option[2]}" if option[2] else name


def _opened(study: ObservedStudy) -> StudyResults:
    """Return the results of a study whose journals lie in a folder that goes with them."""
    home = Path(tempfile.mkdtemp(prefix="icckd-compare-"))
    try:
        folder = StateFolder(home / ".icckd")
        folder.create()
        write_study(folder, study, ["icckd.compare"])
        opened = Results(Store.in_memory(folder))
        opened.refresh()
        return StudyResults(opened, study.name, home=home)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
