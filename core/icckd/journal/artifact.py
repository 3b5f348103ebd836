"""Artifacts: files of a finished stage, under its digest, whole or not there at all."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder

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
    """Move prepared files to their digest, durably, replacing what an earlier attempt left there.

    Every file is synced before the folder gets its name, so a reader never sees half of it.
    """
    names = sorted(path.name for path in prepared.iterdir())
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
    if target.exists():
        old = prepared.with_name(f"{prepared.name}.old")
        target.rename(old)
        prepared.rename(target)
        shutil.rmtree(old)
    else:
        prepared.rename(target)
    _sync(folder.artifacts)
    return manifest


def verified(folder: StateFolder, digest: str) -> Path:
    """Return the folder of an artifact after checking every file against its manifest.

    Raises:
        MachineError: It is missing or damaged.
    """
    path = folder.artifacts / digest
    try:
        files: dict[str, str] = json.loads((path / MANIFEST).read_bytes())["files"]
        damaged = [name for name, digest in files.items() if _sha256(path / name) != digest]
    except (OSError, ValueError, KeyError) as error:
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


def is_published(folder: StateFolder, digest: str) -> bool:
    """Say whether an artifact is there, without reading its files."""
    return (folder.artifacts / digest / MANIFEST).is_file()


def sweep(folder: StateFolder) -> None:
    """Remove what killed attempts left behind. Only the owner may call this, between sessions."""
    for left in folder.artifacts.glob(".tmp-*"):
        shutil.rmtree(left, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
