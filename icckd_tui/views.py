"""Saved views: filter, sorting, grouping, metrics and zoom under a name, for this user.

They are in `views.json` beside the user's configuration. A view is applied as far as a study has
what it names; what a file holds beside that is ignored.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icckd.configuration import config_folder
from icckd.errors import MachineError

FILE = "views.json"
MOST = 200  # views
LONGEST = 60  # letters of a name
_LARGEST = 1 << 20  # bytes of the file

SavedView = Mapping[str, Any]
"""What a view holds, by the names that screens give it; plain values of JSON."""


def saved_views() -> dict[str, SavedView]:
    """Return the views of this user by name; none where the file cannot be read."""
    path = _path()
    try:
        if path is None or path.stat().st_size > _LARGEST:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: view
        for name, view in found.items()
        if isinstance(view, dict) and 0 < len(name) <= LONGEST
    }


def save_view(name: str, view: SavedView | None) -> None:
    """Save a view under a name, or remove that name.

    Raises:
        MachineError: There is no place for it, it cannot be written, or there are too many.
    """
    path = _path()
    if path is None:
        raise MachineError("nobody has a home folder, where views are saved")
    views = saved_views()
    views.pop(name, None)
    if view is not None:
        if len(views) >= MOST:
            raise MachineError(f"there are {MOST} saved views already", hint="remove one")
        views[name] = view
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=".views-", delete=False, encoding="utf-8"
        ) as file:
            json.dump(views, file, indent=1, sort_keys=True)
        os.replace(file.name, path)
    except OSError as error:
        raise MachineError(f"a view cannot be saved in {path}: {error}") from error


def _path() -> Path | None:
    folder = config_folder()
    return None if folder is None else folder / FILE


def number_of(view: SavedView, key: str, low: float, high: float) -> float | None:
    """Return a number of a view that lies between two others, None where there is none."""
    value = view.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if low <= value <= high else None


def text_of(view: SavedView, key: str) -> str | None:
    """Return a text of a view, None where there is none."""
    value = view.get(key)
    return value if isinstance(value, str) and len(value) <= 1000 else None


def about_view(view: SavedView) -> str:
    """Return what a view holds, in a few words."""
    texts = [(key, text_of(view, key)) for key in ("filter", "metrics", "group", "outcome")]
    return ", ".join(f"{key} {text}" for key, text in texts if text)
