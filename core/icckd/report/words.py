"""What an arm changes, in the words of the study's author: "Margin-Based Filtering: off".

The name of a part is that of the ablation that is about it; a setting that no ablation names is
called by its path.
"""

from collections.abc import Mapping
from typing import Any

from icckd.report.text import display
from icckd.study.arms import STRENGTH
from icckd.study.paths import Change, is_under
from icckd.study.records import Arm

_SHOWN_ENTRIES = 2
_VERBS = ("remove", "disable", "drop", "add", "turn off")


def part_names(arms: tuple[Arm, ...]) -> dict[str, str]:
    """Return what the study's author calls its parts, by path: from ablations that name one."""
    found = {}
    for arm in arms:
        paths = [change.path for change in arm.changes if change.path != STRENGTH]
        name = _part_of(arm.title) if arm.action in ("REMOVE", "ADD") else ""
        if len(paths) == 1 and name:
            found[paths[0]] = name
    return found


def _part_of(title: str) -> str:
    """Return the part that a title is about.

    >>> _part_of("Remove the margin filter"), _part_of("Margin filter"), _part_of("")
    ('the margin filter', 'Margin filter', '')
    """
    for verb in _VERBS:
        if title.lower().startswith(f"{verb} "):
            return title[len(verb) + 1 :].strip()
    return title


def changes_in_words(arm: Arm, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return what an arm changes, a text for each setting; what only follows is left out."""
    return tuple(_in_words(each, names) for each in arm.changes if each.path != STRENGTH)


def _in_words(change: Change, names: Mapping[str, str]) -> str:
    name = _name(change.path, names)
    if _is_off(change.after):
        return f"{name}: off"
    if _is_off(change.before):
        return f"{name}: on" if change.after is True else f"{name}: {_value(change.after)}"
    return f"{name}: {_value(change.before)} → {_value(change.after)}"


def _is_off(value: Any) -> bool:
    return value is None or value is False or value == "off"


def shortened(text: str, width: int) -> str:
    """Return what an arm changes in so many letters; that something is off stays to be read.

    >>> shortened("Pipeline-Based Caching: off", 20)
    'Pipeline-Based…: off'
    """
    end = ": off" if text.endswith(": off") else ""
    if len(text) <= width or not end:
        return display(text, width)
    return f"{display(text.removesuffix(end), width - len(end))}{end}"


def _name(path: str, names: Mapping[str, str]) -> str:
    """Return the author's name of a setting, or of the part that it is in, with what is left."""
    part = max((each for each in names if is_under(path, each)), key=len, default="")
    rest = path[len(part) :].strip(".").replace(".", " ").replace("_", " ")
    return display(f"{names.get(part, '')} {rest}".strip(), 200)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        kind = [str(value["kind"])] if "kind" in value else []
        told = [f"{k} {_value(v)}" for k, v in value.items() if k != "kind" and v != "off"]
        more = [*kind, *told][:_SHOWN_ENTRIES]
        return ", ".join(more)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return display(str(value), 100)
