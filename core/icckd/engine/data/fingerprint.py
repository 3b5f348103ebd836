"""Fingerprint of a data set: which bytes a stage reads. Torch-free.

A set with a file for each image may hold more than can be read at every plan. What a folder's
files held is therefore remembered under their names, sizes, times of change and inode numbers: a
folder in which none of these differs is not read again.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest, sha256
from pathlib import Path

from icckd.engine.data.files import IMAGE_SUFFIXES, TEXT_SUFFIX, missing, raw_files, raw_folder
from icckd.errors import MachineError
from icckd.spec.data import Data

SYNTHETIC = "synthetic images, version 1"
READERS = 8
SETTLED_NS = 2_000_000_000
"""Files changed less than two seconds ago are not remembered: they may change within one tick."""

Listed = tuple[str, os.stat_result]


def fingerprint(data: Data, root: Path) -> str:
    """Return the SHA-256 over names and contents of the raw files, in hexadecimal.

    Args:
        data: The data set; its other settings do not count.
        root: Folder that holds downloaded data sets.

    Raises:
        MachineError: If a file is missing or cannot be read.
    """
    if data.kind == "synthetic":
        return sha256(SYNTHETIC.encode()).hexdigest()
    total = sha256()
    folder = raw_folder(data, root)
    if folder is not None:
        contents = list(_contents(folder))
        if not contents:
            raise missing(data.kind, f"there are no images in {folder}")
        for name, content in contents:
            total.update(f"{name} {content}\n".encode())
    for file in raw_files(data, root):
        total.update(f"{file.name} {_content(file)}\n".encode())
    return total.hexdigest()


def cache_folder() -> Path:
    """Return where fingerprints of folders are remembered; deleting it costs time alone."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "icckd" / "fingerprints"


def _contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each sub-folder that has files, by name, with the digest of what they hold.

    Links to folders are followed, unless they lead into a folder that contains them.
    """
    remembered = _Remembered(folder)
    try:
        with ThreadPoolExecutor(READERS) as pool:
            for here, inner, files in os.walk(folder, followlinks=True):
                if Path(here).resolve() in {p.resolve() for p in Path(here).parents}:
                    inner.clear()
                    continue
                inner[:] = sorted(name for name in inner if not name.startswith("."))
                listed = _listed(Path(here), files)
                if listed:
                    name = Path(here).relative_to(folder).as_posix()
                    yield name, remembered.digest(Path(here), listed, pool)
    except OSError as error:
        raise MachineError(
            f"data in {folder} cannot be read: {error}", hint="check the files and their rights"
        ) from error
    remembered.keep()


def _listed(here: Path, names: list[str]) -> list[Listed]:
    wanted = IMAGE_SUFFIXES | {TEXT_SUFFIX}
    chosen = sorted(name for name in names if os.path.splitext(name)[1].lower() in wanted)
    return [(name, (here / name).stat()) for name in chosen]


class _Remembered:
    """Digests of folders by what their listing shows, kept in one file for each data set."""

    def __init__(self, folder: Path) -> None:
        self._file = cache_folder() / f"{sha256(os.fsencode(folder.resolve())).hexdigest()}.json"
        self._known = self._read()
        self._used: dict[str, str] = {}

    def digest(self, here: Path, listed: list[Listed], pool: ThreadPoolExecutor) -> str:
        """Return the digest of names, sizes and contents of the listed files."""
        listing = sha256()
        for name, about in listed:
            seen = (name, about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev)
            listing.update(json.dumps(seen).encode())
        key = f"{here} {listing.hexdigest()}"
        found = self._known.get(key)
        if found is None:
            total = sha256()
            contents = pool.map(_content, [here / name for name, _ in listed])
            for (name, about), content in zip(listed, contents, strict=True):
                total.update(f"{name} {about.st_size} {content}\n".encode())
            found = total.hexdigest()
        if max(about.st_mtime_ns for _, about in listed) < time.time_ns() - SETTLED_NS:
            self._used[key] = found
        return found

    def keep(self) -> None:
        """Write what is known now, aside first; a folder that cannot be written is no error."""
        if self._used == self._known:
            return
        aside = self._file.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(self._used))
            aside.replace(self._file)

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
