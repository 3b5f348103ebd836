"""Write the tables of the documentation that are made from the registries.

    python docs/tables.py

A table stands between `<!-- table: name -->` and `<!-- end -->`; what is between them is replaced.
A test fails where a page is not as this writes it.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from icckd.study.data import DATASETS
from icckd.study.distillers import DISTILLERS, Term
from icckd.study.metrics import METRICS, Metric
from icckd.study.network import MODELS
from icckd.study.registry import Registry
from icckd.study.settings import Settings
from icckd.study.teacher import TEACHER_LOSSES

HERE = Path(__file__).parent
BLOCK = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(value: Any) -> str:
    """Return a default as a study file would have it; of tables, what differs from their own."""
    if isinstance(value, Settings):
        fields = type(value).model_fields
        chosen = {
            name: getattr(value, name)
            for name, field in fields.items()
            if getattr(value, name) != field.get_default(call_default_factory=True)
        }
        pairs = ", ".join(f"{name} = {written(inner)}" for name, inner in chosen.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def keys(settings: type[Settings], without: Sequence[str] = ("kind",)) -> str:
    """Return the keys of a table with their defaults in brackets."""
    texts = []
    for name, field in settings.model_fields.items():
        if name not in without:
            default = field.get_default(call_default_factory=True)
            texts.append(f"`{name}`" if field.is_required() else f"`{name}` [`{written(default)}`]")
    return ", ".join(texts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in r] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def methods() -> str:
    """Return the formulas, sources and settings of all methods, a row for each loss."""
    rows = []
    for part in DISTILLERS.parts(Term):
        for number, loss in enumerate(part.settings.losses):
            first = number == 0
            name = f"`{loss.suffix}`: " if loss.suffix else ""
            rows.append(
                (
                    f"`{part.kind}`" if first else "",
                    f"{name}{loss.formula}",
                    part.settings.source if first else "the same",
                    keys(part.settings) if first else "",
                )
            )
    return table(("kind", "term", "source", "settings and defaults"), rows)


def needs() -> str:
    """Return which methods ask for what of networks and batches."""
    parts = DISTILLERS.parts(Term)

    def named(asks: Callable[[type[Term]], bool]) -> str:
        return ", ".join(f"`{part.kind}`" for part in parts if asks(part.settings))

    texts = {
        "equal-stages": "as many stages in student and teacher",
        "hint": "stage `stage` in both, and the student's map of the same size, larger, or exactly"
        " half as large a side",
        "stages": "stage maps",
    }
    rows = [(text, named(lambda s, need=need: need in s.needs)) for need, text in texts.items()]
    sizes = sorted({part.settings.compares for part in parts} - {1}, reverse=True)
    rows += [
        (f"{size} images in a batch", named(lambda s, size=size: s.compares == size))
        for size in sizes
    ]
    return table(("need", "methods"), rows)


def kinds(registry: Registry[Any]) -> str:
    """Return the keys of each kind of a table."""
    rows = ((f"`{part.kind}`", keys(part.settings)) for part in registry.parts())
    return table(("kind", "keys"), rows)


def models() -> str:
    """Return what the models are."""
    rows = ((f"`{p.kind}`", p.settings.about, keys(p.settings)) for p in MODELS.parts())
    return table(("kind", "what it is", "settings"), rows)


def data_sets() -> str:
    """Return what the data sets are."""
    abouts = ((f"`{part.kind}`", part.settings.about) for part in DATASETS.parts())
    rows = ((kind, a.images, a.labels, a.test_set, a.files) for kind, a in abouts)
    return table(("`data.kind`", "images", "labels", "test set", "where the files are"), rows)


def metrics() -> str:
    """Return the metrics that parts record."""
    found: list[Metric] = []
    for registry in (METRICS, TEACHER_LOSSES, DISTILLERS):
        found += registry.metrics()
    signs = {"higher": "higher", "lower": "lower", "none": "–"}
    kinds = {"both": "outcome, series"}
    rows = (
        (f"`{m.name}`", kinds.get(m.recorded, m.recorded), m.unit, signs[m.direction], m.about)
        for m in found
    )
    return table(("metric", "recorded as", "unit", "better", "meaning"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "methods": methods,
    "needs": needs,
    "data-kinds": lambda: kinds(DATASETS),
    "model-kinds": lambda: kinds(MODELS),
    "models": models,
    "data-sets": data_sets,
    "metrics": metrics,
}


def filled(text: str) -> str:
    """Return a page with its tables made anew."""
    return BLOCK.sub(lambda block: block[1] + TABLES[block[2]]() + block[3], text)


if __name__ == "__main__":
    for page in sorted(HERE.glob("*.md")):
        page.write_text(filled(page.read_text()))
