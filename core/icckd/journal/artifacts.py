"""Artifacts: files of a finished stage, under its digest, whole or not there at all."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icckd.errors import MachineError, StageSuperseded
from icckd.journal.fencing import NO_CLAIM, Claim, claim_in, refuse_superseded, remove_spent
from icckd.journal.file import first_line, last_line, ordinal_of, sync
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.locks import PREFIX, remove_free_locks, try_stage_lock

MANIFEST = "manifest.json"
OTHER_MANIFEST = "manifest.task.json"
"""What a task's own file of that name is called in an artifact."""
MOST_ATTEMPTS = 1 << 62
RUN_MARK = ".icckd"
"""Folder in the run folder of a task: what icckd and the task tell each other."""
RUN_FOLDER = "folder"
"""Name of the run folder of an attempt without a result, beside its journal."""


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


def publish(folder: StateFolder, digest: str, prepared: Path, claim: Claim = NO_CLAIM) -> Manifest:
    """Move prepared files to their digest, durably. What lies there whole and equal stays.

    Every file is synced before the folder gets its name, and a name that is taken is never
    overwritten: a reader sees all of an artifact or none of it. The manifest names the attempt that
    published it, and its order.

    Raises:
        StageSuperseded: Another attempt is to count; nothing was published.
        OSError: The disk refuses it; nothing was published then, and it may be tried again.
    """
    _refuse_superseded(folder, digest, claim)
    _copy_links(prepared)
    _move_other_manifest(prepared, digest)
    names = sorted(_files_below(prepared) - {MANIFEST})
    manifest = Manifest(
        files={name: sha256(prepared / name) for name in names},
        bytes=sum((prepared / name).stat().st_size for name in names),
    )
    told = {"stage": digest, "files": manifest.files, "bytes": manifest.bytes}
    told |= {"attempt": claim.attempt, "ordinal": claim.ordinal} if claim.attempt else {}
    (prepared / MANIFEST).write_text(json.dumps(told))
    for name in [*names, MANIFEST]:
        sync(prepared / name)
    for inner in (prepared, *(path for path in prepared.rglob("*") if path.is_dir())):
        sync(inner)
    target = folder.artifacts / digest
    _refuse_superseded(folder, digest, claim)  # hashing took a while
    if not _rename_no_replace(prepared, target):
        _refuse_superseded(folder, digest, claim)
        if _is_whole(target, manifest):
            (prepared / MANIFEST).replace(target / MANIFEST)
            sync(target)
            shutil.rmtree(prepared)
        else:
            _put_aside(target, prepared)
    sync(folder.artifacts)
    return manifest


def published_by(folder: StateFolder, digest: str) -> Claim:
    """Return by what an artifact was published; `NO_CLAIM` where nobody says."""
    try:
        return claim_in(json.loads((folder.artifacts / digest / MANIFEST).read_bytes()))
    except (OSError, ValueError, RecursionError):
        return NO_CLAIM


def _refuse_superseded(folder: StateFolder, digest: str, claim: Claim) -> None:
    """Refuse an attempt of an older order, and one that finds its stage complete meanwhile.

    Raises:
        StageSuperseded: It is not to count.
    """
    published = published_by(folder, digest)
    refuse_superseded(folder, digest, claim, published)
    is_others = published.attempt not in ("", claim.attempt)
    if is_others and not claim.is_forced and is_complete(folder, digest):
        raise StageSuperseded(f"attempt {published.attempt} has completed it")


def _files_below(folder: Path) -> set[str]:
    """Return the names of all files in a folder and in those inside it, as seen from there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _copy_links(folder: Path) -> None:
    """Put files in the place of links to files, and remove other links: an artifact is whole."""
    for path in list(folder.rglob("*")):
        if path.is_symlink():
            target = os.path.realpath(path)
            path.unlink()
            if os.path.isfile(target):
                shutil.copyfile(target, path)


def _move_other_manifest(prepared: Path, digest: str) -> None:
    """Give what the code of a task called as the manifest is called another name."""
    path = prepared / MANIFEST
    try:
        is_own = json.loads(path.read_bytes())["stage"] == digest  # of a try that the disk refused
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        is_own = False
    if not is_own:
        path.rename(prepared / OTHER_MANIFEST)


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
        return all(sha256(path / name) == digest for name, digest in manifest.files.items())
    except OSError:
        return False


def _put_aside(target: Path, prepared: Path) -> None:
    """Replace what is damaged, or differs where bits do not repeat."""
    old = prepared.with_name(f"{prepared.name}.old")
    target.rename(old)
    prepared.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def read_manifest(folder: StateFolder, digest: str) -> dict[str, str]:
    """Return SHA-256 by name of the files of an artifact, as its manifest says.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a manifest.
    """
    return _files_of(json.loads((folder.artifacts / digest / MANIFEST).read_bytes()))


def verified(folder: StateFolder, digest: str) -> Path:
    """Return the folder of an artifact after checking every file against its manifest.

    Raises:
        MachineError: It is missing or damaged.
    """
    path = folder.artifacts / digest
    try:
        files = read_manifest(folder, digest)
        damaged = [name for name, digest in files.items() if sha256(path / name) != digest]
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


def _files_of(manifest: Any) -> dict[str, str]:
    """Return SHA-256 by name of the files in a manifest, all below its own folder.

    Raises:
        ValueError: It is not a manifest.
    """
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or any(leads_out(name) for name in files):
        raise ValueError("it names no files, or some elsewhere")
    return files


def leads_out(name: str) -> bool:
    """Whether a name in a manifest leads to elsewhere than below the artifact's own folder."""
    parts = Path(name).parts
    return not parts or Path(name).is_absolute() or ".." in parts or Path(*parts).as_posix() != name


def is_published(folder: StateFolder, digest: str) -> bool:
    """Whether an artifact is there, without reading its files."""
    return (folder.artifacts / digest / MANIFEST).is_file()


def is_complete(folder: StateFolder, digest: str) -> bool:
    """Whether a stage's artifact is there and its newest attempt that ended is complete.

    The caller holds the stage's lock: nobody attempts it meanwhile.
    """
    if not is_published(folder, digest):
        return False
    newest: tuple[int, float, bool] = (-1, 0.0, False)
    for path in folder.attempts.glob(f"{digest[:PREFIX]}-*/{JOURNAL}"):
        header, close = first_line(path), last_line(path)
        if header is None or close is None or close.kind != "z":
            continue
        if header.body.get("stage") == digest and close.body.get("state") != "superseded":
            is_good = close.body.get("state") == "complete"
            newest = max(newest, (ordinal_of(header, MOST_ATTEMPTS), header.time, is_good))
    return newest[2]


def sweep(folder: StateFolder, at_work: Collection[str] = ()) -> None:
    """Remove what killed attempts left behind; what another process still works on stays.

    Only the owner may call this, before and after a session's work.

    Args:
        folder: The state folder.
        at_work: Stages that another machine may work on, whose locks are not seen from here.
    """
    kept = {digest[:PREFIX] for digest in at_work}
    for left in folder.artifacts.glob(".tmp-*"):
        name = left.name.removeprefix(".tmp-")
        if name[:PREFIX] in kept:
            continue
        with try_stage_lock(folder, name) as is_free:
            if is_free and not set_aside(folder, left):
                shutil.rmtree(left, ignore_errors=True)
    remove_spent(folder, lambda digest: published_by(folder, digest).ordinal)
    remove_free_locks(folder)


def set_aside(folder: StateFolder, left: Path) -> bool:
    """Move the run folder of a task beside its attempt's journal; return whether it is one."""
    attempt = folder.attempts / left.name.removeprefix(".tmp-")
    kept = attempt / RUN_FOLDER
    if not (left / RUN_MARK).is_dir() or not attempt.is_dir() or kept.exists():
        return False
    left.rename(kept)
    return True


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
