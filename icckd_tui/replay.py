"""Replay: a study's journals are written again at their own pace and read as if it ran now.

The lines of the journals are copied into a folder of the replay, each when its time has come, so
that the screens show what they would have shown: the same readers, views and statistics.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from icckd.errors import UsageError
from icckd_tui.feed import Source, source_in

if TYPE_CHECKING:
    from icckd.journal.folder import StateFolder
    from icckd.results.query import Results

STEPS = 40  # of the slider
SPEEDS = (0.25, 1.0, 4.0, 16.0, 60.0, 240.0)


class Player:
    """The clock of a replay, from the time of the first line to that of the last; thread-safe."""

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
        """Pause or resume; at the end, start again."""
        with self._lock:
            self._at, self._since = self._now(), self._clock()
            if self._at >= self.last:
                self._at, self._playing = self.first, True
            else:
                self._playing = not self._playing

    def seek(self, steps: int) -> None:
        """Go forward or back by `steps` of `STEPS` equal parts."""
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
        """How much of the replay is over, from 0 to 1."""
        return (self.now - self.first) / (self.last - self.first) if self.last > self.first else 1.0


class _Tape:
    """The lines of all journals in the order of their times."""

    def __init__(self, folder: StateFolder) -> None:
        self._lines: list[tuple[float, int, Path, bytes]] = []
        for path in folder.journals():
            if path.is_file():
                self._take(path.relative_to(folder.root), path.read_bytes())
        self._lines.sort(key=lambda line: (line[0], line[1]))
        if not self._lines:
            raise UsageError(
                "there is nothing to replay here", hint="run a study first: icckd run STUDY.toml"
            )

    def _take(self, name: Path, data: bytes) -> None:
        from icckd.journal.file import decode, encode

        newest = 0.0
        for raw in data.split(b"\n")[:-1]:
            line = decode(raw)
            if line is not None:
                newest = max(newest, line.time)  # a clock that was set back keeps the order
                if line.kind == "H":
                    # Of another machine, a session lives as long as its folder is locked.
                    raw = encode("H", line.sequence, line.time, {**line.body, "host": "replay"})[
                        :-1
                    ]
                self._lines.append((newest, len(self._lines), name, raw + b"\n"))

    @property
    def first(self) -> float:
        """The time of the first line."""
        return self._lines[0][0]

    @property
    def last(self) -> float:
        """The time of the last line."""
        return self._lines[-1][0]

    def write(self, folder: Path, start: int, until: float) -> int:
        """Append the lines from `start` on up to a time; return where to continue."""
        parts: dict[Path, list[bytes]] = {}
        place = start
        while place < len(self._lines) and self._lines[place][0] <= until:
            _, _, name, raw = self._lines[place]
            parts.setdefault(name, []).append(raw)
            place += 1
        for name, lines in parts.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("ab") as file:
                file.write(b"".join(lines))
        return place


class _Replay:
    """The folder that a replay writes, read by the results of the monitor."""

    def __init__(self, tape: _Tape, player: Player) -> None:
        self._tape = tape
        self._player = player
        self._home = Path()
        self._lock = ExitStack()
        self._next = 0
        self._shown = player.first

    @contextmanager
    def open(self) -> Iterator[Results]:
        """Yield the results up to the player's time; the folder is removed afterwards."""
        from icckd.journal.folder import StateFolder
        from icckd.journal.owner import owner_lock
        from icckd.results.query import open_results

        with (
            tempfile.TemporaryDirectory(prefix="icckd-replay-", ignore_cleanup_errors=True) as home,
            ExitStack() as self._lock,
        ):
            self._home = Path(home)
            folder = StateFolder(self._home)
            folder.create()
            self._lock.enter_context(owner_lock(folder, waiting=lambda: None))
            self._shown = self._player.now
            self._next = self._tape.write(self._home, 0, self._shown)
            with open_results(folder) as results:
                yield results

    def advance(self) -> bool:
        """Write the lines whose time has come; return whether the replay went back instead.

        At the end the folder's lock is released, which ends a session that wrote no end.
        """
        now = self._player.now
        if now < self._shown:
            return True
        self._shown = now
        self._next = self._tape.write(self._home, self._next, now)
        if self._player.share >= 1.0:
            self._lock.close()
        return False


def replay_of(folder: StateFolder, speed: float) -> tuple[Source, Player]:
    """Return a source that shows the studies of a folder again, and the player that moves it.

    Raises:
        UsageError: There are no journals.
    """
    tape = _Tape(folder)
    player = Player(tape.first, tape.last, speed)
    replay = _Replay(tape, player)
    live = source_in(folder)
    source = Source(
        ready=lambda: True,
        open=replay.open,
        sandbox=live.sandbox,
        views=live.views,
        advance=replay.advance,
    )
    return source, player
