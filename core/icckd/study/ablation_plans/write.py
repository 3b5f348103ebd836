"""The study file that runs an ablation plan: on data, networks and baseline of another study.

    plan + study -> baseline alone -> entries bound -> [[ablation]] and [[requested]] tables

Every entry stays in the file as data. What `icckd plan` would refuse is not written: such an entry
stays open, with the reason.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icckd.errors import SpecError
from icckd.study.ablation_plans.bind import Binder, Bound
from icckd.study.ablation_plans.items import json_text, to_toml, toml_key, toml_string, toml_value
from icckd.study.ablation_plans.records import AblationPlan
from icckd.study.arms import arms, baseline_settings
from icckd.study.load import MAX_BYTES, parse
from icckd.study.model import Study
from icckd.study.observed import study_name, visible
from icckd.study.origin import study_folder
from icckd.study.paths import assign
from icckd.study.plugins import plugins_of
from icckd.study.tasks import uses_engine

WIDTH = 96
_INLINE = 84
_HEADER = ("primary", "metrics", "seeds", "students_per_teacher", "convergence", "smallest_effect",
           "sequential", "extension", "generalise_to", "items")  # fmt: skip
"""Keys of `[study]` that a plan's study takes over."""
PROPOSED, BELOW = "# it may be about:", "#   "
"""The comment above proposals, and how each of their lines begins."""
_TABLES = ("data", "teacher", "student", "task", "numerics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan as a study: the entries bound, and what the user should know.

    `base` is the file with the baseline alone, `source` what the plan calls itself.
    """

    bound: tuple[Bound, ...]
    base: str
    source: str
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The study file, however large."""
        asked = (requested_lines(each, self.source) for each in self.bound)
        blocks = ("\n".join(lines) for lines in (*_ablations(self.bound), *asked))
        return self.base + "".join(f"\n{block}\n" for block in blocks)

    @property
    def open(self) -> tuple[Bound, ...]:
        """The entries that are open."""
        return tuple(each for each in self.bound if each.is_open)


def draft(plan: AblationPlan, study: Study, tables: Mapping[str, Any], shown: str) -> Draft:
    """Return the study that runs a plan.

    Args:
        plan: The plan.
        study: Whose data, networks, training and baseline it has.
        tables: The tables of that study's file.
        shown: What to call that study in the file's comments.

    Raises:
        SpecError: The plan is too large for one study.
    """
    name = name_of(plan.source)
    base = _base_text(plan, study, tables, name, shown)
    where = str(study_folder(study) / f"{name}.toml")
    binder = Binder(parse(base, where=where))
    bound = tuple(binder.bind(entry) for entry in plan.entries)
    bound = _possible(bound, base, where)
    notes = [*plan.notes, *(note for each in bound for note in each.notes)]
    return Draft(bound=bound, base=base, source=plan.source, notes=tuple(dict.fromkeys(notes)))


def study_file(made: Draft) -> str:
    """Return the text of a draft's file.

    Raises:
        SpecError: It is too large for one.
    """
    text = made.text
    if len(text.encode()) > MAX_BYTES:
        raise SpecError(
            f"the ablation plan is too large for one study: {len(made.bound)} ablations",
            hint="give it in parts, or read it with --format json",
        )
    parse(text, where="the study of this plan")
    return text


def name_of(source: str) -> str:
    """Return a study's name for a plan that calls itself so.

    >>> name_of("lm-planner/o3-mini/Some_Paper"), name_of("plan.md")
    ('o3-mini-some-paper', 'plan')
    """
    parts = [part for part in source.split("/") if part]
    last = "-".join(parts[-2:]) if len(parts) > 2 else parts[-1].partition(".")[0] if parts else ""
    return study_name(last.replace("_", "-"))


def entries_json(bound: Iterable[Bound]) -> str:
    """Return entries as JSON: the plan's own words and values, and the arms made from each."""
    entries = [
        {
            "name": each.entry.name,
            "action": each.entry.action,
            "component": each.entry.component,
            "replacements": list(each.entry.items),
            "metrics": list(each.entry.metrics),
            "arm": list(each.arms or ()),
        }
        for each in bound
    ]
    return json_text({"entries": entries}, indent=2)


def _possible(bound: Sequence[Bound], base: str, where: str) -> tuple[Bound, ...]:
    """Return entries of which those stay open that the study could not be planned with."""

    def problem(tried: Iterable[Bound]) -> str:
        text = base + "".join("\n" + "\n".join(lines) + "\n" for lines in _ablations(tried))
        try:
            arms(parse(text, where=where))
        except SpecError as error:
            return error.message
        return ""

    if not problem(bound):
        return tuple(bound)
    kept: list[Bound] = []
    lost: set[str] = set()
    for each in bound:
        is_lost = each.arms is not None and bool(lost & set(each.arms))
        found = "another ablation has its arms" if is_lost else problem([*kept, each])
        if found and each.arms is not None:
            lost |= {name for table in each.tables for name in _names(table, each)}
            reason = visible(found.removeprefix(where).lstrip(", :"), 300)
            each = replace(each, arms=None, tables=(), left_out=(), reason=reason, notes=())
        kept.append(each)
    return tuple(kept)


def _names(table: Any, bound: Bound) -> set[str]:
    return {name for name in bound.arms or () if name == table.arm or name.startswith(table.arm)}


# Tables of the file.


def _base_text(
    plan: AblationPlan, study: Study, tables: Mapping[str, Any], name: str, shown: str
) -> str:
    """Return the file without anything that the plan asks for: the baseline alone."""
    header = study.study
    given = tables.get("study", {})
    source = visible(plan.source, 200)
    head = {
        "name": name,
        "question": f"What do the ablations of {source} come to?",
        "baseline": header.baseline,
        **{key: given[key] for key in _HEADER if key in given},
    }
    with plugins_of(study).present():
        extra, _ = baseline_settings(study)
    settings = {key: _copied(tables[key]) for key in _TABLES if key in tables}
    if uses_engine(study.task) and "data" not in settings:
        settings = {"data": {"kind": study.data.kind}, **settings}  # arms may change what is in it
    for path, value in extra.items():
        assign(settings, path, value)
    about = next((arm.about for arm in study.arm if arm.name == header.baseline), "")
    lines = [
        *_comment(f"What {source} asks for, on the data, networks, training and baseline of"
                  f" {visible(shown, 200)}. `icckd plan` shows the arms and what is open,"
                  " `icckd bind` binds it."),
        *(["", f"plugins = {toml_value(list(study.plugins))}"] if study.plugins else []),
        *_table("study", head),
    ]  # fmt: skip
    for key, table in settings.items():
        lines += _table(key, table)
    arm = {"name": header.baseline, **({"about": about} if about else {})}
    lines += ["", "[[arm]]", *_pairs(arm)]
    return "\n".join(lines) + "\n"


def _copied(value: Any) -> Any:
    return (
        {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value
    )


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _table(path: str, table: Mapping[str, Any]) -> list[str]:
    """Return a table of TOML: tables in it that are short on one line, others below."""
    short = {key: each for key, each in table.items() if _is_short(key, each)}
    lines = ["", f"[{path}]", *_pairs(short)]
    for key, inner in table.items():
        if key not in short:
            lines += _table(f"{path}.{toml_key(key)}", inner)
    return lines


def _is_short(key: str, value: Any) -> bool:
    return not isinstance(value, Mapping) or len(key) + len(toml_value(value)) <= _INLINE


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{toml_key(key)} = {_laid_out(key, each)}" for key, each in table.items()]


def _laid_out(key: str, value: Any) -> str:
    """Return a value of TOML; a list that is too long for a line has a line for each element."""
    text = toml_value(value)
    if not isinstance(value, (list, tuple)) or len(key) + len(text) <= WIDTH:
        return text
    inner = "".join(f"    {toml_value(each)},\n" for each in value)
    return f"[\n{inner}]"


def _ablations(bound: Iterable[Bound]) -> Iterator[list[str]]:
    for each in bound:
        for table in each.tables:
            yield ablation_lines(table)


def ablation_lines(table: Any) -> list[str]:
    """Return the lines of an `[[ablation]]` table."""
    pairs = {
        "name": table.name,
        "arm": table.arm,
        "part": table.part,
        "action": table.action,
        "replacement": table.replacement,
        "metrics": table.metrics,
    }
    return ["[[ablation]]", *_pairs({key: each for key, each in pairs.items() if each})]


def requested_lines(bound: Bound, source: str) -> list[str]:
    """Return the lines of a `[[requested]]` table, with what is known of an open one."""
    entry = bound.entry
    pairs: dict[str, Any] = {
        "name": entry.name,
        "part": entry.component,
        "action": entry.action,
        "items": [to_toml(item) for item in entry.items],
        "metrics": entry.metrics,
        "source": visible(source, 300),
    }
    pairs = {key: each for key, each in pairs.items() if each}
    return ["[[requested]]", *_pairs(pairs), *answer_lines(bound)]


def answer_lines(bound: Bound) -> list[str]:
    """Return the lines that say what a requested ablation comes to."""
    lines = []
    if bound.unknown_metrics:
        texts = ", ".join(visible(text, 80) for text in bound.unknown_metrics)
        lines += _comment(f"no outcome is called: {texts}")
    if bound.arms is not None:
        lines += _pairs({"arm": list(bound.arms)})
    if bound.reason:
        lines += _pairs({"reason": visible(bound.reason, 1000)})
    if bound.left_out:
        inner = ",\n".join(_left_out(item, reason) for item, reason in bound.left_out)
        lines += ["left_out = [", f"{inner},", "]"]
    if bound.is_open and bound.proposals:
        lines += _proposed(bound)
    return lines


def _left_out(item: Any, reason: str) -> str:
    why = toml_string(visible(reason, 500))
    return f"    {{ item = {toml_value(to_toml(item))}, reason = {why} }}"


def _proposed(bound: Bound) -> list[str]:
    lines = [PROPOSED]
    for each in bound.proposals:
        unfit = f"; {visible(each.unfit, 200)}" if each.unfit else ""
        text = f"{each.path} ({each.score:.2f}: {visible(each.reason, 200)}{unfit})"
        lines += textwrap.wrap(text, WIDTH, initial_indent=BELOW, subsequent_indent=f"{BELOW}  ")
    return lines
