"""What all storage does alike: objects under keys, made once, read, listed.

What machines share lies in storage, a state folder stays what one machine reads. Storage needs one
promise, that an object is made once: of two who make the same key, one is refused. Everything that
must happen once is such an object. (A store that overwrites is refused: `icckd.storage.opening`.)

identity                                    made once: tells this storage from all others
tokens/<token>                              numbers handed out, each once; a session's ordinal
owners/<study>/<token>                      who owned a study; the highest owns it
ends/<study>/<token>                        an owner that left by itself
beats/<token>                               overwritten by its owner: a counter, its live status
journals/sessions/<ordinal>/<session>/<n>   segments of a session's journal, numbered from 0
journals/attempts/<ordinal>/<attempt>/<n>   segments of an attempt's
stages/<digest>/<ordinal>-<attempt>         an attempt that began a stage; the highest may publish
artifacts/<digest>/<generation>             a manifest: it alone publishes an artifact
blobs/<SHA-256>                             files of artifacts
checkpoints/<digest>/<epoch>-<attempt>/...  where an unfinished stage resumes
submissions/<token>/...                     what tasks of a scheduler attempt, and say
requests/<study>/<request>.json             what viewers ask of the session that owns a study
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from icckd.errors import MachineError


class StorageError(MachineError):
    """Storage refuses something, or cannot be reached. What it acknowledged before stays."""


class LostError(StorageError):
    """What storage acknowledged is not there: it is lost, or the server is not up to date yet."""


class TakenError(Exception):
    """The key has another object already."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """An object as a listing tells of it: its key, and its size in bytes."""

    key: str
    size: int


class Storage(Protocol):
    """Objects under keys. Each method raises `StorageError` where it is refused or unreachable."""

    url: str
    """What the settings call it; it has no credentials."""

    def create(self, key: str, data: bytes) -> None:
        """Make an object; on return it outlives any machine that icckd runs on.

        An equal object is there already where an earlier try was answered too late: that is fine.

        Raises:
            TakenError: The key has another object.
        """

    def put(self, key: str, data: bytes) -> None:
        """Write an object that has one writer, over what is there."""

    def get(self, key: str) -> bytes | None:
        """Return an object, or None where there is none."""

    def size(self, key: str) -> int | None:
        """Return the bytes of an object, or None where there is none."""

    def put_file(self, key: str, path: Path) -> None:
        """Write a file's content; for keys that name their content, or have one writer."""

    def get_file(self, key: str, path: Path) -> bool:
        """Write an object into a new file; return whether there is one."""

    def list(self, folder: str, after: str = "") -> Sequence[Entry]:
        """Return what lies below a folder, in the order of the keys, those after a key alone."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""


def settle_create(storage: Storage, key: str, data: bytes) -> None:
    """Decide about a key that was taken: it is ours if it holds what we meant to write.

    Raises:
        TakenError: It holds something else.
    """
    if storage.get(key) != data:
        raise TakenError(key)


WIDTH = 20
"""Digits of numbers in keys, so that their order is that of the numbers."""


def numbered(number: int) -> str:
    """Return a number as keys have it."""
    return f"{number:0{WIDTH}}"


def number_in(key: str, place: int) -> int:
    """Return the number at the beginning of a key's part, or -1 where there is none."""
    parts = key.split("/")
    text = parts[place].partition("-")[0] if place < len(parts) else ""
    return int(text) if text.isdecimal() and len(text) == WIDTH else -1


def highest(storage: Storage, folder: str, after: str = "") -> tuple[int, str]:
    """Return the highest number right below a folder, and the key that has it; (-1, "") if none."""
    place = folder.count("/") + 1
    found = ((number_in(entry.key, place), entry.key) for entry in storage.list(folder, after))
    return max(found, default=(-1, ""))


def names_below(entries: Sequence[Entry], folder: str) -> Iterator[str]:
    """Yield the name right below a folder of each entry, each name once, in their order."""
    place, last = folder.count("/") + 1, None
    for entry in entries:
        name = entry.key.split("/")[place]
        if name != last:
            yield name
        last = name
