"""Gates: conditions on results that a command exits 6 for, and what each came to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd.errors import GateError
from icckd.report.answers import answers
from icckd.report.notes import seconds_of_seed
from icckd.report.text import (
    difference_cell,
    difference_unit,
    display,
    mean_cell,
    scale_of,
)
from icckd.results.seeds import Condition, not_known
from icckd.results.types import Comparison, StudyInfo

if TYPE_CHECKING:
    from icckd.results.query import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A condition, judged.

    Attributes:
        text: The condition as it was typed.
        failure: Why it does not hold, in one sentence; "" where it holds.
        comparisons: The comparisons that it is about, a line each.
    """

    text: str
    failure: str
    comparisons: tuple[str, ...]


def judge_gates(
    results: "Results", newest: StudyInfo, conditions: Sequence[Condition]
) -> tuple[Gate, ...]:
    """Return what conditions came to on the newest revision of a study.

    While that is incomplete none of them holds: its results are not known.
    """
    if not newest.is_complete:
        return tuple(
            Gate(text=each.text, failure=not_known([each.text], newest), comparisons=())
            for each in conditions
        )
    all_rows = results.comparisons(newest)
    rows = {(row.arm, row.metric): row for row in all_rows}
    said = _answers(results, newest, all_rows)
    return tuple(
        Gate(
            text=each.text,
            failure="" if each.holds(rows) else _failure(each.text, each.value(rows)),
            comparisons=tuple(
                said.get((arm, each.metric)) or _comparison(newest, rows[arm, each.metric])
                for arm in each.arms
            ),
        )
        for each in conditions
    )


def gate_error(gates: Sequence[Gate], newest: StudyInfo) -> GateError | None:
    """Return the error for gates of which some do not hold; None where all do."""
    failed = [gate for gate in gates if gate.failure]
    if not failed:
        return None
    if not newest.is_complete:
        return GateError(not_known([gate.text for gate in gates], newest))
    return GateError("; ".join(gate.failure for gate in failed))


def _failure(text: str, value: float | None) -> str:
    return f"gate {text!r} does not hold: it is {'unknown' if value is None else f'{value:.4g}'}"


def _answers(
    results: "Results", study: StudyInfo, rows: tuple[Comparison, ...]
) -> dict[tuple[str, str], str]:
    """Return the sentence that answers each primary question, by arm and metric."""
    asked = [(q.arm, q.metric) for q in study.questions if q.arm in study.family]
    said = answers(study, rows, seconds_of_seed(results, study))
    return dict(zip(asked, said, strict=True)) if said else {}


def _comparison(study: StudyInfo, row: Comparison) -> str:
    """Return a comparison that no question is about, in a line."""
    scale = scale_of([row])
    unit = f" ({display(scale.unit)})" if scale.unit else ""
    reached = f"{display(row.metric)}{unit} of {display(row.arm)}: {mean_cell(row, scale)}"
    difference = difference_cell(row, scale)
    if not difference:
        return reached
    of = difference_unit(row.unit) if scale.divisor == 1 else f" {scale.unit}"
    return f"{reached}; minus {display(study.baseline)}: {difference}{of}"
