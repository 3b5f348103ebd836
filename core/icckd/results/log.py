"""Log lines of a study's stages and sessions."""

from typing import Any

from icckd.results.types import LogRow, StudyInfo
from icckd.store.store import Store

_COLUMNS = "select time, level, arm, seed, stage_kind, text from log"
_ORDER = "order by time desc, source, name desc, sequence desc, use_number desc limit ?"


def read_log(
    store: Store, study: StudyInfo, limit: int, *, arm: str | None, seed: int | None
) -> tuple[LogRow, ...]:
    """Return the newest lines, the oldest of them first.

    Without arm or seed a line of a shared stage comes once, under the first trial that needs it.
    """
    filters = ["study = ?"]
    parameters: list[str | int] = [study.name]
    if arm is not None:
        filters.append("arm = ?")
        parameters.append(arm)
    if seed is not None:
        filters.append("seed = ?")
        parameters.append(seed)
    sql = f"{_COLUMNS} where {' and '.join(filters)}"
    sql += (
        " qualify row_number() over (partition by source, name, sequence order by use_number) = 1"
    )
    rows = store.select(f"{sql} {_ORDER}", [*parameters, limit])
    return tuple(_line(row) for row in reversed(rows))


def _line(row: tuple[Any, ...]) -> LogRow:
    time, level, arm, seed, stage, text = row
    return LogRow(time=time, level=level, arm=arm, seed=seed, stage=stage, text=text)
