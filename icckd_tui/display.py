"""The one gate for text from outside: names, reasons and log lines.

A terminal obeys what it is sent, so control characters and direction overrides never get through;
what comes out is plain text, never markup.
"""

import re
import unicodedata
from functools import lru_cache

from rich.cells import cell_len, set_cell_size

LONGEST = 400

_SEQUENCES = re.compile(
    r"""
    (?:\x1b\]|\x9d) [^\x07\x1b\x9c]{0,4096} (?:\x07|\x1b\\|\x9c)?     # OSC: title, clipboard, links
    | (?:\x1b[PX^_]|[\x90\x98\x9e\x9f]) [^\x1b\x9c]{0,4096} (?:\x1b\\|\x9c)?   # other strings
    | (?:\x1b\[|\x9b) [0-?]{0,64} [ -/]{0,8} [@-~]?                    # CSI: colors, cursor, clear
    | \x1b [ -/]{0,8} [0-~]?                                           # short escapes
    """,
    re.VERBOSE,
)
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@lru_cache(maxsize=8192)
def display(text: str, limit: int = LONGEST) -> str:
    r"""Return text that is safe to show, in one line and at most `limit` characters.

    >>> display("\x1b[31mred\x1b]52;c;eA==\x07 [bold]x[/bold]\nnext")
    'red [bold]x[/bold] next'
    """
    head = _SEQUENCES.sub("", text[: 4 * limit])
    spaced = head.replace("\n", " ").replace("\t", " ")
    shown = "".join(char for char in spaced if unicodedata.category(char) not in _DROPPED)
    return shown if len(shown) <= limit else shown[: limit - 1] + "~"


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """Return text cut or padded to exactly `width` cells.

    >>> fit("no-margin-matched", 10), fit("full", 6)
    ('no-margin…', 'full  ')
    """
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    if width <= cell_len(ellipsis):
        return set_cell_size(text, width)
    return set_cell_size(text, width - cell_len(ellipsis)) + ellipsis
