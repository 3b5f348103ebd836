"""Which columns of a table name arm and seed of a run, and which hold its numbers: a guess.

Nothing rests on it: `icckd init --csv` shows the command line that says the same.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from icckd.errors import SpecError
from icckd.imports.tables import LONGEST_LINE, bounded_lines, separator
from icckd.study.observed import visible
from icckd.study.scripts.outputs import NO_RESULT, STEPS, direction_of, words_of

_ARMS = ("arm", "method", "model", "variant", "ablation", "config", "setting", "experiment",
         "algorithm", "approach", "condition", "name", "run_name", "group")  # fmt: skip
_SEEDS = ("seed", "random_seed", "rng_seed", "replicate", "repeat", "repetition", "trial", "fold",
          "run")  # fmt: skip
_NO_RESULT = NO_RESULT | {"min", "minutes", "hours", "h", "date", "timestamp", "id", "index", "gpu"}
_LOOKED_AT = 200
"""Rows that tell whether a column holds numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guessed:
    """Columns of a table.

    Attributes:
        names: All of them.
        arm, seed: What names the arm of a run, and its seed; "" where none does.
        step: What counts the steps of a run, or "".
        metrics: What holds results, the likeliest answer first.
    """

    names: tuple[str, ...]
    arm: str
    seed: str
    step: str
    metrics: tuple[str, ...]


def guess_columns(path: Path) -> Guessed:
    """Return what the head and the first rows of a CSV file say of its columns.

    Raises:
        SpecError: It is no table.
        OSError: It cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            between = separator(file.readline(LONGEST_LINE))
            file.seek(0)
            head, *rows = list(
                islice(csv.reader(bounded_lines(file), delimiter=between), _LOOKED_AT + 1)
            ) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(
            f"{visible(path.name)} is no table of commas: {visible(str(error))}",
            hint="save it as CSV in UTF-8",
        ) from error
    names = [name.strip() for name in head]
    columns = dict(zip(names, _columns(rows, len(names)), strict=True))
    arm = _named(names, _ARMS) or next(
        (n for n in names if n and not _numbers(columns[n]) and len(set(columns[n])) > 1), ""
    )
    seed = _named([name for name in names if name != arm], _SEEDS)
    left = [name for name in names if name and name not in (arm, seed)]
    step = _named(left, STEPS)
    return Guessed(
        names=tuple(names), arm=arm, seed=seed, step=step, metrics=_metrics(left, columns)
    )


def _columns(rows: Sequence[Sequence[str]], width: int) -> Iterator[list[str]]:
    for place in range(width):
        yield [row[place].strip() for row in rows if len(row) == width]


def _named(names: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the first column with one of these names, in whatever letters."""
    by_name = {"_".join(words_of(name)): name for name in reversed(names)}
    return next((by_name[word] for word in wanted if word in by_name), "")


def _metrics(names: Sequence[str], columns: dict[str, list[str]]) -> tuple[str, ...]:
    numeric = [name for name in names if _numbers(columns[name])]
    results = [name for name in numeric if not set(words_of(name)) <= _NO_RESULT]
    return tuple(sorted(results, key=_rank))


def _rank(name: str) -> int:
    """Return how far a result is from being the answer: accuracies first, then losses."""
    direction = direction_of(name)
    return {"higher": 0, "lower": 1}.get(direction, 2)


def _numbers(cells: Sequence[str]) -> bool:
    """Whether cells are numbers; empty ones, as of runs that failed, tell nothing."""
    told = [cell for cell in cells if cell]
    return bool(told) and all(_is_number(cell) for cell in told)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
