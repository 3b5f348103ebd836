"""Read journals that may still be growing, or be damaged."""

from dataclasses import dataclass
from pathlib import Path

from icckd.journal.line import Line, decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What a stretch of a journal holds.

    Attributes:
        lines: The intact lines, in file order.
        end: Byte offset after the last whole line; reading goes on there.
        bad_lines: Whole lines that were damaged and skipped.
        bad_bytes: Their bytes, newlines included.
    """

    lines: tuple[Line, ...]
    end: int
    bad_lines: int
    bad_bytes: int


def read_chunk(path: Path, start: int = 0, limit: int | None = None) -> Chunk:
    """Read the whole lines of a journal from byte `start` on.

    A torn last line is left for later. At most about `limit` bytes are read, but always at least
    one whole line where there is one.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read() if limit is None else file.read(limit)
        while limit is not None and b"\n" not in data and (more := file.read(len(data) or limit)):
            data += more
    whole = data[: data.rfind(b"\n") + 1]
    lines: list[Line] = []
    bad_lines = bad_bytes = 0
    for raw in whole.split(b"\n")[:-1]:
        line = decode(raw)
        if line is None:
            bad_lines += 1
            bad_bytes += len(raw) + 1
        else:
            lines.append(line)
    return Chunk(
        lines=tuple(lines), end=start + len(whole), bad_lines=bad_lines, bad_bytes=bad_bytes
    )
