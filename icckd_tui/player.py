"""The clock of a replay: where it is, how fast it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from icckd_tui.glyphs import Glyphs

STEPS = 40  # of the slider
SPEEDS = (0.25, 1.0, 4.0, 16.0, 60.0, 240.0)


class Player:
    """The clock of a replay: where it is, how fast it goes, from when to when there are lines.

    Threads may share it.
    """

    def __init__(
        self, first: float, last: float, speed: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.first = first
        self.last = last
        self.speed = speed
        self._clock = clock
        self._lock = threading.Lock()
        self._at = first
        self._since = clock()
        self._playing = True

    @property
    def now(self) -> float:
        """The time that is shown, in Unix seconds."""
        with self._lock:
            return self._now()

    def _now(self) -> float:
        passed = (self._clock() - self._since) * self.speed if self._playing else 0.0
        return min(self.last, self._at + passed)

    @property
    def playing(self) -> bool:
        """Whether time passes."""
        return self._playing and self.now < self.last

    def toggle(self) -> None:
        """Stop, or go on; at the end, start again."""
        with self._lock:
            self._at, self._since = self._now(), self._clock()
            if self._at >= self.last:
                self._at, self._playing = self.first, True
            else:
                self._playing = not self._playing

    def seek(self, steps: int) -> None:
        """Go forward or back by a part of the whole."""
        with self._lock:
            moved = self._now() + steps * (self.last - self.first) / STEPS
            self._at, self._since = min(self.last, max(self.first, moved)), self._clock()

    def faster(self, steps: int) -> None:
        """Take the next higher or lower speed."""
        with self._lock:
            self._at, self._since = self._now(), self._clock()
            nearest = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.speed))
            self.speed = SPEEDS[min(len(SPEEDS) - 1, max(0, nearest + steps))]

    @property
    def share(self) -> float:
        """How much of the whole is over."""
        return (self.now - self.first) / (self.last - self.first) if self.last > self.first else 1.0


def replay_text(player: Player, glyphs: Glyphs) -> str:
    """Return speed and place of a replay, with a slider."""
    cells = round(player.share * 10)
    slider = glyphs.bar[0] * cells + glyphs.bar[1] * (10 - cells)
    word = "REPLAY" if player.playing else "REPLAY stopped"
    return f"{word} x{player.speed:g} {slider} {player.share:.0%}"
