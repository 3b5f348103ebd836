"""The report for other programs: CSV, JSON and Parquet, one record a comparison.

Numbers have ten significant digits: beyond them versions of scipy differ. Bytes stay bytes. In JSON
a target never reached is the word "inf", as in the journals.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from icckd.report.document import ReportDocument
from icckd.report.requested import answers_to, as_records
from icckd.report.text import display
from icckd.results import export
from icckd.results.items import ItemChanges
from icckd.results.types import Comparison
from icckd.results.values import strict
from icckd.study.records import Arm

_OF_ITEMS = ("about", "items", "groups", "items_apart", "item_error", "more_items")
_FIELDS = tuple(field.name for field in fields(Comparison) if field.name not in _OF_ITEMS)


def _fields(document: ReportDocument) -> tuple[str, ...]:
    """Return the columns of a comparison; those of items only where some are compared."""
    has_items = any(row.about for row in document.comparisons)
    return (*_FIELDS, *(_OF_ITEMS if has_items else ()))


def write_csv(document: ReportDocument, out: TextIO) -> None:
    """Write one line for each arm and metric; missing seeds are separated by spaces."""
    study = document.study
    arms, names = {arm.name: arm for arm in study.arms}, _fields(document)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["study", "revision", "role", "control_for", *names])
    for row in document.comparisons:
        arm = arms[row.arm]
        lead = [study.name, study.revision, arm.role, arm.control_for]
        writer.writerow([_csv_value(value) for value in [*lead, *_values(row, names)]])


def write_json(document: ReportDocument, out: TextIO) -> None:
    """Write one JSON document: the study, its arms, every comparison, and the notes."""
    study, names = document.study, _fields(document)
    content = {
        "study": study.name,
        "revision": study.revision,
        "planned": study.planned_at,
        "is_newest": study.is_newest,
        "newer_revisions": [
            {
                "revision": each.revision,
                "planned": each.planned_at,
                "complete": each.complete,
                "trials": each.trials,
            }
            for each in document.newer
        ],
        "question": study.question,
        "baseline": study.baseline,
        "primary": study.primary,
        "seeds": list(study.seeds),
        "family": list(study.family),
        "smallest_effect": study.smallest_effect,
        "arms": [_arm(arm) for arm in study.arms],
        **({"answers": list(document.answers)} if document.answers else {}),
        "comparisons": [
            dict(zip(names, _values(row, names), strict=True)) for row in document.comparisons
        ],
        **(
            {"items": [_rounded_items(each) for each in document.item_changes]}
            if document.item_changes
            else {}
        ),
        **(
            {"requested": requested}
            if (requested := as_records(answers_to(study, document.comparisons)))
            else {}
        ),
        "effects": [_rounded(asdict(effect)) for effect in document.effects],
        "added_seeds": list(study.added),
        "left_out_seeds": list(study.left_out),
        "stopped": dict(study.stopped),
        "warnings": list(document.warnings),
        "incomplete": list(document.incomplete),
        "notes": list(document.notes),
    }
    json.dump(strict(content), out, indent=2, allow_nan=False)
    out.write("\n")


def write_parquet(document: ReportDocument, target: Path) -> None:
    """Write every comparison as one Parquet file, numbers in full.

    Raises:
        MachineError: The file cannot be written.
    """
    study, names = document.study, _fields(document)
    rows = [
        [study.name, study.revision, *(getattr(row, name) for name in names)]
        for row in document.comparisons
    ]
    export.write_parquet(["study", "revision", *names], rows, target)


def _values(row: Comparison, names: Sequence[str]) -> list[Any]:
    return list(_rounded({name: getattr(row, name) for name in names}).values())


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.10g}") if isinstance(value, float) else value
        for name, value in fields.items()
    }


def _rounded_items(found: ItemChanges) -> dict[str, Any]:
    """Return how items changed, without the lists of those that cannot be compared."""
    fields = asdict(found)
    fields["most"] = [_rounded({**asdict(c), "difference": c.difference}) for c in found.most]
    return {**fields, "apart": len(found.apart), "regrouped": len(found.regrouped)}


def _csv_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return display(value) if isinstance(value, str) else value


def _arm(arm: Arm) -> dict[str, Any]:
    """Return the public columns of an arm."""
    return {key: value for key, value in asdict(arm).items() if key not in ("metrics", "levels")}
