"""The file with a task's settings that `{config}` names: JSON, YAML or TOML."""

import json
import re
from collections.abc import Mapping
from typing import Any

from icckd.study.tasks import Task


def config_text(task: Task, seed: int) -> str:
    """Return the file that `{config}` names: the config with the seed, in the task's format."""
    content = {**task.config, "seed": task.config.get("seed", seed)}
    if task.config_file == "json":
        return json.dumps(content, indent=2) + "\n"
    if task.config_file == "toml":
        return "".join(f"{_toml_key(key)} = {_toml(value)}\n" for key, value in content.items())
    import yaml  # few tasks ask for it

    written: str = yaml.safe_dump(content, sort_keys=False)
    return written


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_key(key)} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return _toml_text(value) if isinstance(value, str) else json.dumps(value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_text(key)


def _toml_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
