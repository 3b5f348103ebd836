"""Published training schedules by name, and how a study's settings take them up.

A preset is replaced by its plain values when a study is read: digests, differences between arms and
`icckd plan` never see its name. Sources are in docs/protocol.md.
"""

from collections.abc import Mapping
from typing import Any

SMALL_LR = 0.01
SMALL_LR_FAMILIES = ("mobilenet", "shufflenet")
"""Networks that the CIFAR-100 schedule trains at the smaller learning rate."""


def _multistep(*milestones: int) -> dict[str, Any]:
    return {"kind": "multistep", "milestones": list(milestones), "factor": 0.1}


_SGD = {"optimizer": {"kind": "sgd", "nesterov": False}, "momentum": 0.9}
_CIFAR100 = {"batch_size": 64, "lr": 0.05, **_SGD, "weight_decay": 5e-4}

PRESETS: dict[str, dict[str, Any]] = {
    "cifar100": {**_CIFAR100, "epochs": 240, "schedule": _multistep(150, 180, 210)},
    "cifar100-short": {**_CIFAR100, "epochs": 80, "schedule": _multistep(50, 60, 70)},
    "tiny-imagenet": {
        "batch_size": 256, "lr": 0.2, **_SGD, "weight_decay": 5e-4,
        "epochs": 200, "schedule": _multistep(60, 120, 160),
    },
    "imagenet": {
        "batch_size": 512, "lr": 0.2, **_SGD, "weight_decay": 1e-4,
        "epochs": 100, "schedule": _multistep(30, 60, 90),
    },
}  # fmt: skip


def resolve_presets(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's tables with the presets of teacher and student replaced by their values.

    Keys written beside a preset win. An unknown preset is left for validation to refuse.
    """
    resolved = dict(tables)
    for role in ("teacher", "student"):
        table = tables.get(role)
        training = table.get("training") if isinstance(table, dict) else None
        if not isinstance(table, dict) or not isinstance(training, dict):
            continue
        name = training.get("preset")
        if isinstance(name, str) and name in PRESETS:
            rest = {key: value for key, value in training.items() if key != "preset"}
            resolved[role] = {**table, "training": _merged(_values(name, table.get("model")), rest)}
    return resolved


def _merged(values: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Put keys over values; a table that names no kind changes single keys of the one there."""
    merged = dict(values)
    for key, given in rest.items():
        value, before = given, values.get(key)
        if isinstance(before, dict) and isinstance(value, dict) and "kind" not in value:
            value = {**before, **value}
        merged[key] = value
    return merged


def _values(name: str, model: Any) -> dict[str, Any]:
    values = PRESETS[name]
    network = str(model.get("name", "")) if isinstance(model, dict) else ""
    if name.startswith("cifar100") and network.startswith(SMALL_LR_FAMILIES):
        return {**values, "lr": SMALL_LR}
    return values
