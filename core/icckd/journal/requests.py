"""Requests: small files by which viewers ask the running session for something.

A request is written aside and renamed into `requests/`; the session carries it out, says so in
its journal, and removes the file.
"""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from icckd.journal.folder import StateFolder

RequestKind = Literal["stop"]
_KINDS = ("stop",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked: `stop` lets running stages finish and starts no more."""

    name: str
    kind: RequestKind
    study: str
    path: Path


def submit(folder: StateFolder, kind: RequestKind, study: str) -> str:
    """Ask the session that runs `study` for something; return the request's name."""
    name = uuid.uuid4().hex
    aside = folder.requests / f".{name}"
    aside.write_text(json.dumps({"kind": kind, "study": study}))
    aside.rename(folder.requests / f"{name}.json")
    return name


def waiting(folder: StateFolder) -> tuple[Request, ...]:
    """Return the requests not yet answered; files that are no request are removed."""
    found = []
    for path in sorted(folder.requests.glob("*.json")):
        try:
            body = json.loads(path.read_bytes()[:4096])
            kind, study = body["kind"], body["study"]
        except (OSError, ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            continue
        if kind in _KINDS:
            found.append(Request(name=path.stem, kind=kind, study=str(study), path=path))
        else:
            path.unlink(missing_ok=True)
    return tuple(found)
