"""Requests of viewers to a session on another machine."""

import re
from urllib.parse import quote

from pydantic import ValidationError

from icckd.journal.folder import StateFolder
from icckd.journal.requests import MAX_BYTES, Wanted
from icckd.storage.base import Storage

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def send_request(storage: Storage, name: str, wanted: Wanted) -> None:
    """Put a request where the session that owns its study finds it."""
    storage.put(f"{_folder(wanted.study)}/{name}.json", wanted.model_dump_json().encode())


def take_requests(storage: Storage, study: str, folder: StateFolder) -> None:
    """Put the requests for a study where its session finds those of this machine."""
    for entry in storage.list(_folder(study)):
        name = entry.key.rpartition("/")[2].removesuffix(".json")
        text = storage.get(entry.key) if entry.size <= MAX_BYTES else None
        try:
            wanted = Wanted.model_validate_json(text or b"")
        except ValidationError:
            wanted = None
        if wanted is not None and _NAME.fullmatch(name):
            aside = folder.requests / f".{name}"
            aside.write_text(wanted.model_dump_json())
            aside.rename(folder.requests / f"{name}.json")
        storage.delete(entry.key)


def drop_requests(storage: Storage, study: str) -> None:
    """Remove requests that were meant for an earlier session."""
    for entry in storage.list(_folder(study)):
        storage.delete(entry.key)


def _folder(study: str) -> str:
    return f"requests/{quote(study, safe='')}"
