"""Artifacts: files of a finished stage, under its digest, whole or not there at all."""

import errno
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.journal.stage_lock import remove_free_locks, try_stage_lock

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact holds: SHA-256 by file name, and bytes in all."""

    files: dict[str, str]
    bytes: int


def workspace(folder: StateFolder, attempt: str) -> Path:
    """Return a fresh folder in which an attempt prepares its artifact."""
    path = folder.artifacts / f".tmp-{attempt}"
    path.mkdir()
    return path


def publish(folder: StateFolder, digest: str, prepared: Path) -> Manifest:
    """Move prepared files to their digest, durably. What lies there whole and equal stays.

    Every file is synced before the folder gets its name, and a name that is taken is never
    overwritten: a reader sees all of an artifact or none of it.

    Raises:
        OSError: The disk refuses it; nothing was published then, and it may be tried again.
    """
    names = sorted(path.name for path in prepared.iterdir() if path.name != MANIFEST)
    manifest = Manifest(
        files={name: _sha256(prepared / name) for name in names},
        bytes=sum((prepared / name).stat().st_size for name in names),
    )
    text = json.dumps({"stage": digest, "files": manifest.files, "bytes": manifest.bytes})
    (prepared / MANIFEST).write_text(text)
    for name in [*names, MANIFEST]:
        _sync(prepared / name)
    _sync(prepared)
    target = folder.artifacts / digest
    if not _rename_no_replace(prepared, target):
        if _is_whole(target, manifest):
            shutil.rmtree(prepared)
        else:
            _put_aside(target, prepared)
    _sync(folder.artifacts)
    return manifest


def _rename_no_replace(prepared: Path, target: Path) -> bool:
    """Give a folder its name unless that is taken; return whether it was free.

    rename(2) puts a folder in the place of an empty one only, and an artifact is never empty.
    """
    try:
        prepared.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def _is_whole(path: Path, manifest: Manifest) -> bool:
    try:
        return all(_sha256(path / name) == digest for name, digest in manifest.files.items())
    except OSError:
        return False


def _put_aside(target: Path, prepared: Path) -> None:
    """Replace what is damaged, or differs where bits do not repeat."""
    old = prepared.with_name(f"{prepared.name}.old")
    target.rename(old)
    prepared.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def verified(folder: StateFolder, digest: str) -> Path:
    """Return the folder of an artifact after checking every file against its manifest.

    Raises:
        MachineError: It is missing or damaged.
    """
    path = folder.artifacts / digest
    try:
        files = _files_told(json.loads((path / MANIFEST).read_bytes()))
        damaged = [name for name, digest in files.items() if _sha256(path / name) != digest]
    except (OSError, ValueError, RecursionError) as error:
        raise MachineError(
            f"artifact {digest[:16]} is missing or has no manifest",
            hint="run with --force to train that stage again",
        ) from error
    if damaged:
        raise MachineError(
            f"artifact {digest[:16]} is damaged: {damaged[0]}",
            hint="run with --force to train that stage again",
        )
    return path


def _files_told(manifest: Any) -> dict[str, str]:
    """Return SHA-256 by name of the files that a manifest tells of, all in its own folder.

    Raises:
        ValueError: It is no manifest.
    """
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or any(name != Path(name).name for name in files):
        raise ValueError("it tells of no files, or of some elsewhere")
    return files


def is_published(folder: StateFolder, digest: str) -> bool:
    """Say whether an artifact is there, without reading its files."""
    return (folder.artifacts / digest / MANIFEST).is_file()


def sweep(folder: StateFolder) -> None:
    """Remove what killed attempts left behind; what another process still works on stays.

    Only the owner may call this, before and after a session's work.
    """
    for left in folder.artifacts.glob(".tmp-*"):
        with try_stage_lock(folder, left.name.removeprefix(".tmp-")) as is_free:
            if is_free:
                shutil.rmtree(left, ignore_errors=True)
    remove_free_locks(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
