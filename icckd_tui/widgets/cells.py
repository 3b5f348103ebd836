"""A picture as a grid of characters and inks: two can be compared, and only what differs painted.

An ink is a number: foreground * 4 + background. Foregrounds are 0 nothing, 1 axis, and for the arm
at place i: 2 + 3 i its color, 3 + 3 i the same dimmed, 4 + 3 i the color of its band. Backgrounds
are 0 none, 1 the baseline's band, 2 the focused arm's band, 3 both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

AXIS = 1


def arm_ink(index: int, kind: int = 0) -> int:
    """Return the foreground of an arm: `kind` 0 its color, 1 dimmed, 2 its band."""
    return 2 + 3 * index + kind


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Characters (code points) and inks, both (rows, columns)."""

    codes: NDArray[np.uint32]
    inks: NDArray[np.uint16]

    @classmethod
    def blank(cls, width: int, height: int) -> "Picture":
        """Return an empty picture."""
        return cls(np.full((height, width), 32, np.uint32), np.zeros((height, width), np.uint16))

    def put(self, row: int, column: int, text: str, ink: int) -> None:
        """Write text; what does not fit is left out."""
        height, width = self.codes.shape
        if not 0 <= row < height:
            return
        for place, char in enumerate(text, column):
            if 0 <= place < width:
                self.codes[row, place] = ord(char)
                self.inks[row, place] = ink * 4

    @property
    def height(self) -> int:
        """How many rows there are."""
        return len(self.codes)

    def runs(self, row: int) -> Iterator[tuple[str, int]]:
        """Yield a row's text in pieces of one ink; a blank needs no foreground of its own."""
        text = self.codes[row].astype("<u4").tobytes().decode("utf-32-le")
        inks = self.inks[row]
        cuts = [0, *(np.flatnonzero(np.diff(inks)) + 1).tolist(), len(text)]
        piece, ink = "", int(inks[0])
        for start, end in pairwise(cuts):
            more, new = text[start:end], int(inks[start])
            if more.isspace() and new % 4 == ink % 4:
                piece += more
            elif (not piece or piece.isspace()) and new % 4 == ink % 4:
                piece, ink = piece + more, new
            else:
                yield piece, ink
                piece, ink = more, new
        yield piece, ink

    def changed_spans(
        self, other: "Picture | None", *, new_bands: bool = False
    ) -> list[tuple[int, int, int]]:
        """Return (row, first column, one past the last) of every row that differs.

        With `new_bands` the same backgrounds are other arms' now, so that they differ too.
        """
        if other is None or self.codes.shape != other.codes.shape:
            height, width = self.codes.shape
            return [(row, 0, width) for row in range(height)]
        differs = (self.codes != other.codes) | (self.inks != other.inks)
        if new_bands:
            differs |= (self.inks % 4 > 0) | (other.inks % 4 > 0)
        rows = np.flatnonzero(differs.any(axis=1))
        first = differs.argmax(axis=1)
        last = differs.shape[1] - differs[:, ::-1].argmax(axis=1)
        return [(int(row), int(first[row]), int(last[row])) for row in rows]
