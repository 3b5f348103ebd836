"""Storage in a folder that machines share, such as one on NFS: `file:///shared/icckd`.

An object is written aside, synced, and linked to its name: link(2) refuses a name that is taken, on
every file system that has hard links. A reader sees an object whole or not at all.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from icckd.journal.file import NO_ROOM, sync
from icckd.storage.base import Entry, StorageError, settle_create

ASIDE = ".aside-"
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
T = TypeVar("T")


class FolderStorage:
    """A folder as storage; see `icckd.storage.base.Storage`.

    Args:
        root: The folder; it is made when the first object is.
    """

    def __init__(self, root: Path) -> None:
        self.url = f"file://{root}"
        self._root = root

    def create(self, key: str, data: bytes) -> None:
        """Make an object, synced, by a link; see `Storage.create`."""

        def link(aside: Path, target: Path) -> bool:
            try:
                os.link(aside, target)
            except FileExistsError:  # NFS may say so of a link that it made and answered twice
                return os.path.samestat(os.stat(aside), os.stat(target))
            return True

        if not self._refusing(lambda: self._write(key, lambda path: _write(path, data), link)):
            settle_create(self, key, data)

    def put(self, key: str, data: bytes) -> None:
        self._refusing(lambda: self._write(key, lambda path: _write(path, data), _rename))

    def put_file(self, key: str, path: Path) -> None:
        self._refusing(lambda: self._write(key, lambda to: _copy(path, to), _rename))

    def get(self, key: str) -> bytes | None:
        try:
            return self._refusing((self._root / key).read_bytes)
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        try:
            return self._refusing((self._root / key).stat).st_size
        except FileNotFoundError:
            return None

    def get_file(self, key: str, path: Path) -> bool:
        """Copy an object into a new file; return whether there is one."""
        try:
            with (
                self._refusing(lambda: (self._root / key).open("rb")) as file,
                path.open("xb") as copy,
            ):
                shutil.copyfileobj(file, copy, 1 << 20)
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str, after: str = "") -> Sequence[Entry]:
        return self._refusing(lambda: [*_below(self._root, folder, after)])

    def delete(self, key: str) -> None:
        self._refusing(lambda: (self._root / key).unlink(missing_ok=True))

    def _write(
        self, key: str, fill: Callable[[Path], None], name: Callable[[Path, Path], bool]
    ) -> bool:
        """Fill a file aside and give it its name; return whether it has that now."""
        target = self._root / key
        if not target.parent.is_dir():
            self._make(target.parent)
        aside = target.parent / f"{ASIDE}{uuid.uuid4().hex}"
        try:
            fill(aside)
            is_named = name(aside, target)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
        sync(target.parent)
        return is_named

    def _make(self, folder: Path) -> None:
        """Make a folder whose name survives a power cut, too."""
        new = [path for path in (folder, *folder.parents) if not path.is_dir()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in new:
            sync(path.parent)

    def _refusing(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except FileNotFoundError:
            raise
        except OSError as error:
            hint = "see that the folder is there and can be written; nothing is lost"
            if error.errno in NO_ROOM:
                hint = "free space there: it goes on by itself"
            elif error.errno in _NO_LINKS:
                hint = "storage needs a file system with hard links"
            raise StorageError(
                f"storage {self.url} refuses: {error.strerror or error}", hint=hint
            ) from error


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: Path, path: Path) -> None:
    with source.open("rb") as file, path.open("xb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())


def _rename(aside: Path, target: Path) -> bool:
    aside.rename(target)
    return True


def _below(root: Path, folder: str, after: str) -> Iterator[Entry]:
    """Yield the objects below a folder in the order of their keys, those after a key alone."""
    try:
        with os.scandir(root / folder) as scan:
            found = [(entry.name + "/" * entry.is_dir(), entry) for entry in scan]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, entry in sorted(found, key=lambda each: each[0]):
        key = f"{folder}/{name}"
        if name.startswith("."):
            continue
        if name.endswith("/"):
            if key > after or after.startswith(key):
                yield from _below(root, key[:-1], after)
        elif key > after:
            try:
                yield Entry(key, entry.stat().st_size)
            except FileNotFoundError:  # removed meanwhile
                continue
