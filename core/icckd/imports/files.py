"""The files that runs are read from: found, bounded, named harmlessly, with their SHA-256."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from icckd.errors import SpecError, UsageError
from icckd.study.observed import SourceFile, visible

GIB = 1 << 30
MOST_FILES = 20_000
MOST_DEPTH = 12


def source_file(path: Path, *, most: int, name: str | None = None) -> SourceFile:
    """Return a file's name, digest and size.

    Args:
        path: The file.
        most: Bytes that it may have.
        name: What to call it; by default its own name, without folders.

    Raises:
        UsageError: It is not there, or is no file.
        SpecError: It is too large.
    """
    shown = visible(name or path.name)
    try:
        if not path.is_file():
            raise UsageError(
                f"there is no file {visible(str(path))}"
                if not path.exists()
                else f"{visible(str(path))} is no file",
                hint="name the file that holds the runs",
            )
        size = path.stat().st_size
        if size > most:
            raise SpecError(
                f"{shown} has {size:,} bytes, more than {most:,}",
                hint="write the runs as Parquet, or leave out what is not needed",
            )
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UsageError(
            f"cannot read {visible(str(path))}: {error.strerror}", hint="name a file of yours"
        ) from error
    return SourceFile(name=shown, sha256=digest.hexdigest(), bytes=size)


def files_below(folder: Path, suffixes: Iterable[str] = ("",)) -> list[Path]:
    """Return the files of a folder and of those inside it, in the order of their paths.

    Links are not followed, and what lies deeper than `MOST_DEPTH` folders is refused.

    Raises:
        UsageError: It is no folder.
        SpecError: There are more than `MOST_FILES`, or folders nest too deep.
    """
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {visible(str(folder))}", hint="name the folder that holds the runs"
        )
    ends, found = tuple(suffixes), []
    for home, folders, names in os.walk(folder, followlinks=False):
        depth = len(Path(home).relative_to(folder).parts)
        if depth > MOST_DEPTH and folders:
            raise SpecError(
                f"folders in {visible(folder.name)} nest deeper than {MOST_DEPTH}",
                hint="name a folder nearer to the runs",
            )
        folders.sort()
        found += [
            path
            for name in sorted(names)
            if name.endswith(ends) and not (path := Path(home, name)).is_symlink()
        ]
        if len(found) > MOST_FILES:
            raise SpecError(
                f"{visible(folder.name)} holds more than {MOST_FILES} files",
                hint="name a folder with the runs of one study",
            )
    return found


def digest_of_all(files: Iterable[tuple[str, Path]], *, most: int) -> tuple[SourceFile, ...]:
    """Return names, digests and sizes of many files, which together may have so many bytes.

    Raises:
        SpecError: They have more.
    """
    found, left = [], most
    for name, path in files:
        found.append(source_file(path, most=left, name=name))
        left -= found[-1].bytes
    return tuple(found)
