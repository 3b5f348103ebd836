"""What earlier journals of a state folder say, read without a database."""

import socket
from pathlib import Path

from icckd.journal.artifact import is_published
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.line import Line, decode
from icckd.journal.stage_lock import PREFIX

_TAIL_BYTES = 1 << 16
_MOST_SESSIONS = 1 << 40
_MOST_ATTEMPTS = 1 << 62


def next_session_ordinal(folder: StateFolder) -> int:
    """Return one more than any session's ordinal: an order that no clock can turn round."""
    headers = (_first_line(path) for path in folder.sessions.glob(f"*/{JOURNAL}"))
    return 1 + max(
        (_ordinal(line, _MOST_SESSIONS) for line in headers if line is not None), default=0
    )


def open_session_elsewhere(folder: StateFolder) -> str:
    """Return the other host whose session was the last one here and has not ended, or ""."""
    newest: tuple[int, float, Path, Line] | None = None
    for path in folder.sessions.glob(f"*/{JOURNAL}"):
        header = _first_line(path)
        if header is not None and header.kind == "H":
            found = (_ordinal(header, _MOST_SESSIONS), header.time, path, header)
            newest = found if newest is None or found[:2] > newest[:2] else newest
    if newest is None:
        return ""
    close, host = _last_line(newest[2]), str(newest[3].body.get("host", ""))
    has_ended = close is not None and close.kind == "Z"
    return "" if has_ended or host == socket.gethostname() else host


def is_complete(folder: StateFolder, digest: str) -> bool:
    """Say whether a stage's artifact is there and its newest attempt that ended is complete.

    The caller holds the stage's lock, so that no attempt at it is going on.
    """
    if not is_published(folder, digest):
        return False
    newest: tuple[int, float, bool] = (-1, 0.0, False)
    for path in folder.attempts.glob(f"{digest[:PREFIX]}-*/{JOURNAL}"):
        header, close = _first_line(path), _last_line(path)
        if header is None or close is None or close.kind != "z":
            continue
        if header.body.get("stage") == digest:
            is_good = close.body.get("state") == "complete"
            newest = max(newest, (_ordinal(header, _MOST_ATTEMPTS), header.time, is_good))
    return newest[2]


def _ordinal(header: Line, most: int) -> int:
    """Return what a header says of its place in the order; 0 when it says nothing sensible."""
    said = header.body.get("ordinal", 0)
    return said if isinstance(said, int) and 0 <= said < most else 0


def _first_line(path: Path) -> Line | None:
    try:
        with path.open("rb") as file:
            return decode(file.readline(1 << 20).removesuffix(b"\n"))
    except OSError:
        return None


def _last_line(path: Path) -> Line | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read()
    except OSError:
        return None
    whole = data[: max(data.rfind(b"\n"), 0)]
    return decode(whole[whole.rfind(b"\n") + 1 :])
