"""Text for terminals: untrusted names made harmless, durations and sizes made readable."""

import unicodedata
from typing import TextIO

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
MARKDOWN_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~$"})
"""What Markdown would act on, with the backslash that stops it."""
_PLAIN = str.maketrans({"±": "+-", "…": "...", "–": "-"})


def display(text: str, limit: int = 500) -> str:
    r"""Return text that is safe to print: one line, no control, escape or direction characters.

    >>> display("a\x1b[31mb\n")
    'a[31mb '
    """
    kept = "".join(
        " " if character in "\t\n\r" else character
        for character in text[: 4 * limit]
        if character in "\t\n\r" or unicodedata.category(character) not in _INVISIBLE
    )
    return kept if len(kept) <= limit else f"{kept[: limit - 1]}…"


def duration(seconds: float) -> str:
    """Return seconds as people read them.

    >>> duration(7.26), duration(75), duration(8000), duration(200_000)
    ('7.3 s', '1 min 15 s', '2 h 13 min', '2 d 8 h')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 1440:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def bytes_text(size: float) -> str:
    """Return a number of bytes as people read it.

    >>> bytes_text(512), bytes_text(2048), bytes_text(3e8)
    ('512 B', '2.0 KiB', '286.1 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def write_lines(out: TextIO, lines: list[str]) -> None:
    """Write lines, in plain letters where the stream's encoding knows no others."""
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    out.write(text)
