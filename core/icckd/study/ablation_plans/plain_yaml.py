"""YAML as plain values: scalars by the core schema of YAML 1.2, no tags, no anchors.

PyYAML's own loaders follow YAML 1.1, where `off` is false, `1e-3` a text and `1:30` ninety: items
of a plan would change their types.
"""

import re
from typing import Any

import yaml

from icckd.study.ablation_plans.tables import read_integer, read_number

_CORE = (
    (re.compile(r"null|Null|NULL|~|"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?[0-9]+"), read_integer),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"), read_number),
)
MOST_NODES = 200_000
MOST_LEVELS = 30


def load_plain(text: str) -> tuple[Any, list[int]]:
    """Return the value of a YAML document, and the lines of the entries of its outermost list.

    Raises:
        YAMLError: It is no YAML, or has several documents.
        ValueError: It has an anchor, an alias or a tag, a key twice, or is too large.
    """
    loader = getattr(yaml, "CLoader", yaml.Loader)  # its parser alone is used: nothing is built
    budget = MOST_NODES
    event: Any
    for event in yaml.parse(text, Loader=loader):
        budget -= 1
        tagged = getattr(event, "tag", None) is not None
        anchored = getattr(event, "anchor", None) is not None
        if tagged or anchored or budget < 0:
            what = "too many values" if budget < 0 else "tags, anchors and aliases are not read"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=event.start_mark)
    node = yaml.compose(text, Loader=loader)
    lines: list[int] = []
    return _value(node, 0, lines), lines


def _value(node: Any, depth: int, lines: list[int]) -> Any:
    if depth > MOST_LEVELS:
        raise yaml.MarkedYAMLError(problem="it nests too deep", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        if not lines:
            lines.extend(each.start_mark.line + 1 for each in node.value)
        return [_value(each, depth + 1, lines) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        return _table(node, depth, lines)
    return _scalar(node) if isinstance(node, yaml.ScalarNode) else None  # an empty document


def _table(node: Any, depth: int, lines: list[int]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key_node, inner in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is None or key in table:
            problem = "a key that is no text" if key is None else f"the key {key!r} stands twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        table[key] = _value(inner, depth + 1, lines)
    return table


def _scalar(node: Any) -> Any:
    """Return the value of a scalar: of one in quotes, or of a block, its text."""
    if not node.style:
        for pattern, read in _CORE:
            if pattern.fullmatch(node.value):
                return read(node.value)
    return node.value
