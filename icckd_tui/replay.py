"""Replay: a study's journals written again at their own pace, and read as if it happened now.

A player copies the lines of the journals into a folder of its own, each when its time has come, so
that the screens see what they would have seen: the same readers, views and statistics.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from icckd.errors import UsageError
from icckd_tui.player import Player
from icckd_tui.source import Reader, Source, source_in

if TYPE_CHECKING:
    from icckd.journal.folder import StateFolder
    from icckd.results.types import Progress, StudyInfo


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
        from icckd.journal.line import decode, encode

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
        """Append the lines from `start` on up to a time; return where to go on."""
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


class ReplayReader:
    """Reads the folder of a player; going back starts over from an empty folder."""

    def __init__(self, tape: _Tape, player: Player) -> None:
        self._tape = tape
        self._player = player
        self._home = Path(tempfile.mkdtemp(prefix="icckd-replay-"))
        self._next = 0
        self._shown = player.first
        self._inner = self._open()

    def _open(self) -> Reader:
        from icckd.journal.folder import StateFolder
        from icckd.results.read import open_results
        from icckd.store.lock import owner_lock

        folder = StateFolder(self._home)
        folder.create()
        self._lock = owner_lock(folder, waiting=lambda: None)
        self._lock.__enter__()
        self._next = self._tape.write(self._home, self._next, self._player.now)
        return open_results(folder)

    def refresh(self) -> bool:
        """Write what has come since, and take it in."""
        now = self._player.now
        if now < self._shown:
            self._close()
            self._home.mkdir()
            self._next = 0
            self._shown = now
            self._inner = self._open()
            return True
        self._shown = now
        self._next = self._tape.write(self._home, self._next, now)
        return self._inner.refresh()

    def progress(self, study: StudyInfo) -> Progress:
        """Return where the study stood; a session without an end ends, interrupted, with it."""
        found = self._inner.progress(study)
        cut_off = self._player.share >= 1.0 and found.session == "live"
        return replace(found, session="interrupted") if cut_off else found

    def __getattr__(self, name: str) -> object:
        """Read everything else as it is."""
        return getattr(self._inner, name)

    def __enter__(self) -> Self:
        """Open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, and leave nothing behind."""
        self._close()

    def _close(self) -> None:
        self._inner.__exit__(None, None, None)
        self._lock.__exit__(None, None, None)
        shutil.rmtree(self._home, ignore_errors=True)


def replay_of(folder: StateFolder, speed: float) -> tuple[Source, Player]:
    """Return a source that shows the studies of a folder again, and the player that moves it.

    Raises:
        UsageError: There are no journals.
    """
    tape = _Tape(folder)
    player = Player(tape.first, tape.last, speed)
    live = source_in(folder)
    source = Source(
        ready=lambda: True,
        open=lambda: ReplayReader(tape, player),  # type: ignore[return-value,arg-type]
        asker=live.asker,
        views=live.views,
    )
    return source, player
