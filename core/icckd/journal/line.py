r"""One journal line: JSON with version, kind, sequence number, time, and a CRC of all before it.

{"v":1,"k":"m","s":3,"t":1790000000.25,"epoch":2,"values":{...},"c":"0a1b2c3d"}\n
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any

from icckd.journal.redact import own_redactor

VERSION = 1
_TAIL = len(',"c":"00000000"}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that was read whole and matched its CRC."""

    sequence: int
    time: float
    kind: str
    body: dict[str, Any]


def encode(kind: str, sequence: int, time: float, body: dict[str, Any]) -> bytes:
    """Return the bytes of one line, newline included; secrets are left out of it."""
    head = {"v": VERSION, "k": kind, "s": sequence, "t": round(time, 6)}
    fields = {**head, **{key: value for key, value in body.items() if key != "k"}}
    text = json.dumps(fields, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    start = own_redactor()(text)[:-1].encode()
    return start + b',"c":"%08x"}\n' % zlib.crc32(start)


def decode(raw: bytes) -> Line | None:
    """Return the line that these bytes hold, or None when they are damaged.

    Args:
        raw: One line without its newline.
    """
    start, tail = raw[:-_TAIL], raw[-_TAIL:]
    if tail != b',"c":"%08x"}' % zlib.crc32(start):
        return None
    try:
        fields = json.loads(raw)
        if fields.pop("v") != VERSION:
            return None
        del fields["c"]
        kind, sequence, time = fields["k"], fields.pop("s"), fields.pop("t")
        if type(kind) is not str or type(sequence) is not int or not 0 <= sequence < 2**63:
            return None
        return Line(kind=kind, sequence=sequence, time=float(time), body=fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
