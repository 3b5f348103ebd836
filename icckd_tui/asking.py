"""How what the user asks reaches the session: a small file in the state folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icckd.journal.folder import StateFolder
    from icckd_tui.view_model.requests import Asked


def submitter(folder: StateFolder) -> Callable[[Asked], str]:
    """Return what writes requests into a state folder and returns their names."""

    def submit(asked: Asked) -> str:
        from icckd.journal import requests

        return requests.submit(folder, requests.Wanted(**asdict(asked)))

    return submit
