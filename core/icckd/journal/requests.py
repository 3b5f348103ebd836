"""Requests: small files by which viewers ask the running session for something.

A request is written aside and renamed into `requests/`; the session carries it out, records that in
its journal, and removes the file. The file is one JSON table:

    {"kind": "cancel", "study": "icc-ablations", "arm": "no-cache", "seed": 3}
"""

import contextlib
import os
import re
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from icckd.journal.folder import StateFolder

RequestKind = Literal["stop", "pause", "resume", "cancel", "retry", "first", "more-seeds"]
MAX_BYTES = 4096
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\.json")


class Wanted(BaseModel):
    """What is asked.

    Attributes:
        kind: `stop` lets running stages finish and starts no more; `pause` saves running stages at
            the end of their epoch and starts no more until `resume`; `cancel` gives up an arm or
            one trial of it; `retry` takes up what failed, was blocked or cancelled there;
            `first` puts what waits there ahead of everything else; `more-seeds` extends the study
            by `count` seeds.
        study: Name of the study.
        arm: For `cancel`, `retry` and `first`.
        seed: One trial of that arm; None means all its trials.
        count: For `more-seeds`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: RequestKind
    study: str = Field(max_length=64)
    arm: str = Field(default="", max_length=128)
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    count: int = Field(default=0, ge=0, le=1000)

    @model_validator(mode="after")
    def _is_whole(self) -> "Wanted":
        if (self.kind in ("cancel", "retry", "first")) != bool(self.arm):
            raise ValueError("`cancel`, `retry` and `first` name an arm, the others do not")
        if (self.kind == "more-seeds") != bool(self.count):
            raise ValueError("`more-seeds` has a count, the others do not")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that waits for its answer; `written` is its file's time, in Unix seconds."""

    name: str
    wanted: Wanted
    path: Path
    written: float


def submit(folder: StateFolder, wanted: Wanted) -> str:
    """Ask the session that runs a study for something; return the request's name."""
    name = uuid.uuid4().hex
    aside = folder.requests / f".{name}"
    aside.write_text(wanted.model_dump_json())
    aside.rename(folder.requests / f"{name}.json")
    return name


def waiting(folder: StateFolder) -> tuple[Request, ...]:
    """Return the requests not yet answered, oldest first; other files are removed."""
    found = []
    for path in folder.requests.glob("*.json"):
        request = _read(path)
        if request is not None:
            found.append(request)
        else:
            with contextlib.suppress(OSError):  # a folder stays: it was not written by mistake
                path.unlink(missing_ok=True)
    return tuple(sorted(found, key=lambda request: (request.written, request.name)))


def _read(path: Path) -> Request | None:
    """Return the request in a file, or None where it holds none; a pipe is not waited for."""
    if not _NAME.fullmatch(path.name):
        return None
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                return None
            wanted = Wanted.model_validate_json(file.read(MAX_BYTES))
    except (OSError, ValidationError):
        return None
    return Request(name=path.stem, wanted=wanted, path=path, written=about.st_mtime)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
