"""Change one number of a study file; comments, layout and everything else stay as they are."""

import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from icckd.errors import SpecError
from icckd.spec.load import read_text

_NUMBER = r"[+-]?[0-9][0-9_]*(?:\.[0-9_]+)?(?:[eE][+-]?[0-9_]+)?"


def set_in_arm(path: Path, arm: str, key: str, value: float) -> None:
    """Write a number into the `set` of an [[arm]] of a study file; written aside, then renamed.

    Raises:
        SpecError: There is no such arm or key, or the file cannot be written.
    """
    path = path.resolve()
    text = edited(read_text(path), arm, key, value)
    try:
        _replace(path, text.encode())
    except OSError as error:
        raise SpecError(
            f"cannot write {path}: {error.strerror}",
            hint=f"set {key!r} = {value:g} in arm {arm!r} by hand",
        ) from error


def edited(text: str, arm: str, key: str, value: float) -> str:
    """Return the text with one number changed.

    Of all numbers that stand behind such a key, the one is changed whose change yields exactly the
    tables that are wanted; parsing decides, not the look of the file.

    Raises:
        SpecError: There is no such arm or key.
    """
    expected = tomllib.loads(text)
    settings = _settings_of(expected, arm)
    if key not in settings:
        raise SpecError(f"arm {arm!r} does not set {key!r}")
    settings[key] = value
    for found in re.finditer(rf"([\"']){re.escape(key)}\1\s*=\s*({_NUMBER})", text):
        start, end = found.span(2)
        changed = f"{text[:start]}{value!r}{text[end:]}"
        if _parsed(changed) == expected:
            return changed
    raise SpecError(
        f"the number behind {key!r} in arm {arm!r} was not found in the text",
        hint=f"set it to {value:g} by hand",
    )


def _settings_of(tables: dict[str, Any], arm: str) -> dict[str, Any]:
    for table in tables.get("arm", ()):
        if table.get("name") == arm:
            settings: dict[str, Any] = table.get("set", {})
            return settings
    raise SpecError(f"there is no [[arm]] named {arm!r}")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        aside = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            aside.chmod(mode)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
