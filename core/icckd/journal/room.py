"""What takes how much room in a state folder: by study, and by kind of file."""

import os
from dataclasses import dataclass
from pathlib import Path

from icckd.journal.belongings import Belongings, read_belongings
from icckd.journal.folder import StateFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRoom:
    """Bytes that belong to one study, to several that share them, or to no study here.

    Attributes:
        studies: Their names; one, several, or none.
        journals: Journals of sessions and attempts, with what lies beside them.
        artifacts: What complete stages left.
        checkpoints: Where unfinished stages go on.
    """

    studies: tuple[str, ...]
    journals: int = 0
    artifacts: int = 0
    checkpoints: int = 0

    @property
    def bytes(self) -> int:
        """All of them."""
        return self.journals + self.artifacts + self.checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """All bytes of a state folder, each counted once, and those of the cache outside it.

    Attributes:
        studies: A row for each study, then one for each set of studies that share something, then
            one for what belongs to none.
        database: The database, which can be made again.
        quarantine: What was found damaged and moved away.
        other: Locks, requests, the history of SQL, what killed processes left.
        cache: Files outside the state folder that icckd can make again.
    """

    studies: tuple[StudyRoom, ...]
    database: int
    quarantine: int
    other: int
    cache: int

    @property
    def bytes(self) -> int:
        """All bytes of the state folder."""
        return sum(row.bytes for row in self.studies) + self.database + self.quarantine + self.other


def read_room(folder: StateFolder, cache: Path | None) -> Room:
    """Return what takes how much room.

    Args:
        folder: The state folder; files that go meanwhile count as nothing.
        cache: The folder of what icckd keeps outside of it; None where there is none.
    """
    known = read_belongings(folder)
    counted = _Counted(known)
    sessions = {name: (each.study,) for each in known.values() for name in each.sessions}
    attempts = _sharers(known, {each.study: each.attempts for each in known.values()})
    stages = _sharers(known, {each.study: each.stages for each in known.values()})
    groups = (
        ("journals", folder.sessions, sessions),
        ("journals", folder.attempts, attempts),
        ("artifacts", folder.artifacts, stages),
        ("checkpoints", folder.checkpoints, stages),
    )
    for kind, home, owners in groups:
        for path in _entries(home):
            counted.add(owners.get(path.name, ()), kind, size_of(path))
    database = folder.database.name
    rest = {path.name: path for path in _entries(folder.root)}
    files = {home.name for _, home, _ in groups}
    return Room(
        studies=counted.rows(),
        database=sum(size_of(path) for name, path in rest.items() if name.startswith(database)),
        quarantine=size_of(folder.quarantine),
        other=sum(
            size_of(path)
            for name, path in rest.items()
            if name not in files | {folder.quarantine.name} and not name.startswith(database)
        ),
        cache=0 if cache is None else size_of(cache),
    )


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are not followed."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            return sum(
                size_of(Path(entry.path))
                if entry.is_dir(follow_symlinks=False)
                else entry.stat(follow_symlinks=False).st_size
                for entry in entries
            )
    except OSError:
        return 0


def _entries(home: Path) -> list[Path]:
    try:
        return sorted(home.iterdir())
    except OSError:
        return []


def _sharers(
    known: dict[str, Belongings], owned: dict[str, list[str] | set[str]]
) -> dict[str, tuple[str, ...]]:
    """Return the studies that each thing belongs to."""
    found: dict[str, tuple[str, ...]] = {}
    for study in known:
        for name in owned[study]:
            found[name] = (*found.get(name, ()), study)
    return found


class _Counted:
    def __init__(self, known: dict[str, Belongings]) -> None:
        self._sums: dict[tuple[str, ...], dict[str, int]] = {(study,): {} for study in known}

    def add(self, studies: tuple[str, ...], kind: str, size: int) -> None:
        sums = self._sums.setdefault(studies, {})
        sums[kind] = sums.get(kind, 0) + size

    def rows(self) -> tuple[StudyRoom, ...]:
        order = sorted(self._sums, key=lambda studies: (len(studies) == 0, len(studies), studies))
        return tuple(StudyRoom(studies=each, **self._sums[each]) for each in order)
