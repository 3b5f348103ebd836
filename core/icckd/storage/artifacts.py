"""Artifacts and checkpoints in storage.

An artifact is its files, each under its SHA-256, and then a manifest that is made once: it alone
publishes the artifact. The manifest also holds the last line of its attempt's journal, so that
there is no moment at which an artifact is published and its attempt not complete: whoever finds
that line missing in storage puts it there, byte for byte as the attempt would have.
"""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from icckd.errors import MachineError
from icckd.journal.artifacts import (
    is_published,
    leads_out,
    publish,
    published_by,
    read_manifest,
    sha256,
)
from icckd.journal.checkpoints import ABOUT, EPOCH, STATE, epochs_done, is_whole
from icckd.journal.fencing import Claim, newest_ordinal
from icckd.journal.folder import StateFolder
from icckd.journal.locks import stage_lock
from icckd.storage.base import (
    LostError,
    Storage,
    StorageError,
    TakenError,
    highest,
    names_below,
    numbered,
)

LOST_HINT = "a stage that storage lost is trained again with --force"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Published(BaseModel):
    """A manifest in storage.

    Attributes:
        stage: Digest of the stage.
        files: SHA-256 by name.
        size: Of all files, in bytes.
        attempt: The attempt that published it.
        ordinal: Of its order.
        journal: Folder of the segments of its journal; "" where an artifact was brought here that
            a state folder had before.
        close: The last line of that journal.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: str
    files: dict[str, str]
    size: int
    attempt: str
    ordinal: int = 0
    journal: str = ""
    close: str = ""

    @field_validator("files")
    @classmethod
    def _stays_inside(cls, files: dict[str, str]) -> dict[str, str]:
        if any(leads_out(name) or not _SHA256.fullmatch(sha) for name, sha in files.items()):
            raise ValueError("a name leads out of the artifact, or a digest is none")
        return files

    @classmethod
    def read(cls, text: bytes, storage: Storage, key: str) -> Self:
        """Return the manifest that an object holds.

        Raises:
            StorageError: It holds none.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise StorageError(
                f"storage {storage.url}: {key} is not a manifest",
                hint="run with --force to train that stage again",
            ) from error


def find_published(storage: Storage, digest: str) -> Published | None:
    """Return the manifest of a stage that counts, that of the highest generation; None if none.

    Raises:
        LostError: It is listed, and not there.
    """
    _, key = highest(storage, f"artifacts/{digest}")
    if not key:
        return None
    if (text := storage.get(key)) is None:
        raise LostError(f"storage {storage.url} lost {key}", hint=LOST_HINT)
    return Published.read(text, storage, key)


def published_stages(storage: Storage) -> frozenset[str]:
    """Return the digests of all stages whose artifact is published."""
    return frozenset(names_below(storage.list("artifacts"), "artifacts"))


def upload_files(storage: Storage, folder: Path, files: Mapping[str, str]) -> None:
    """Put files of an artifact under what they contain; what is there already stays.

    Args:
        storage: Where to.
        folder: The artifact on this machine.
        files: SHA-256 by name.
    """
    for name, sha in files.items():
        path, key = folder / name, f"blobs/{sha}"
        if storage.size(key) != path.stat().st_size:
            storage.put_file(key, path)


def publish_in(storage: Storage, manifest: Published, generation: int) -> Published:
    """Publish an artifact whose files are there; return the manifest that counts.

    Args:
        storage: Where to.
        manifest: What is to be published.
        generation: 0; of a stage that is trained again on purpose, the token of the session.
    """
    key = f"artifacts/{manifest.stage}/{numbered(generation)}"
    try:
        storage.create(key, manifest.model_dump_json().encode())
    except TakenError:
        found = storage.get(key)
        if found is None:
            raise LostError(f"storage {storage.url} lost {key}", hint=LOST_HINT) from None
        return Published.read(found, storage, key)
    return manifest


def fetch_artifact(
    storage: Storage,
    folder: StateFolder,
    digest: str,
    *,
    waiting: Callable[[], None] = lambda: None,
    give_up: Callable[[], bool] = lambda: False,
) -> bool:
    """Have the artifact of a stage in a state folder as storage has it; return whether it has one.

    Processes of one machine fetch it once: the stage's lock is held meanwhile.

    Raises:
        LostError: A file of it is missing in storage.
        MachineError: One is damaged there.
    """
    manifest = find_published(storage, digest)
    if manifest is None:
        return False
    if _has_same(folder, manifest):
        return True
    with stage_lock(folder, digest, waiting=waiting, give_up=give_up) as held:
        if held is not None and not _has_same(folder, manifest):
            _download(storage, folder, manifest)
    return True


def replace_artifact(storage: Storage, folder: StateFolder, manifest: Published) -> None:
    """Have the artifact that counts in the place of one's own; the stage's lock is held."""
    if not _has_same(folder, manifest):
        _download(storage, folder, manifest)


def bring_artifacts(storage: Storage, folder: StateFolder, digests: Collection[str]) -> None:
    """Publish what a state folder has of stages, and storage has not."""
    for digest in digests:
        files = read_manifest(folder, digest)
        upload_files(storage, folder.artifacts / digest, files)
        size = sum((folder.artifacts / digest / name).stat().st_size for name in files)
        publish_in(storage, Published(stage=digest, files=files, size=size, attempt=""), 0)


def _has_same(folder: StateFolder, manifest: Published) -> bool:
    """Whether a state folder has an artifact of the same files."""
    if not is_published(folder, manifest.stage):
        return False
    try:
        return read_manifest(folder, manifest.stage) == manifest.files
    except (OSError, ValueError, RecursionError):
        return False


def _download(storage: Storage, folder: StateFolder, manifest: Published) -> None:
    aside = folder.artifacts / f".tmp-{manifest.stage[:16]}-{uuid.uuid4().hex[:8]}"
    aside.mkdir(parents=True)
    try:
        for name, sha in manifest.files.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not storage.get_file(f"blobs/{sha}", path):
                raise LostError(f"storage {storage.url} lost blobs/{sha}", hint=LOST_HINT)
            if sha256(path) != sha:
                raise MachineError(
                    f"artifact {manifest.stage[:16]} is damaged in storage {storage.url}: {name}",
                    hint="run with --force to train that stage again",
                )
        publish(folder, manifest.stage, aside, _claim_to_replace(folder, manifest))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _claim_to_replace(folder: StateFolder, manifest: Published) -> Claim:
    """Return by what an artifact that counts everywhere replaces what a state folder has."""
    digest = manifest.stage
    ordinal = max(newest_ordinal(folder, digest), published_by(folder, digest).ordinal)
    ordinal = max(ordinal, manifest.ordinal)
    return Claim(attempt=manifest.attempt, ordinal=ordinal, is_forced=True)


# Checkpoints: each has a folder of its own, and is whole once `checkpoint.json` is there.


def push_checkpoint(storage: Storage, stage: Path, attempt: str, known: int) -> int:
    """Push the newest checkpoint of a stage if it is beyond what storage has; return its epoch.

    Args:
        storage: Where to.
        stage: The stage's folder of checkpoints on this machine.
        attempt: The attempt that makes them.
        known: The epoch of the checkpoint that was pushed last.
    """
    epoch = epochs_done(stage)
    if epoch <= known:
        return known
    aside = stage / f".push-{attempt}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        for name in (STATE, ABOUT):  # links, since the training removes older checkpoints
            os.link(stage / f"{EPOCH}{epoch:06}" / name, aside / name)
        key = f"checkpoints/{stage.name}/{numbered(epoch)}-{attempt}"
        for name in (STATE, ABOUT):
            storage.put_file(f"{key}/{name}", aside / name)
    except FileNotFoundError:  # a newer one took its place: that one is next
        return known
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for entry in storage.list(f"checkpoints/{stage.name}"):
        is_ours = entry.key.split("/")[2].endswith(f"-{attempt}")
        if is_ours and not entry.key.startswith(key):
            storage.delete(entry.key)
    return epoch


def fetch_checkpoint(storage: Storage, folder: StateFolder, digest: str) -> int:
    """Have the newest checkpoint of a stage in a state folder; return its epoch, 0 without one.

    The stage's lock is held.
    """
    stage = folder.checkpoints / digest
    have = epochs_done(stage)
    found = [e.key for e in storage.list(f"checkpoints/{digest}") if e.key.endswith(f"/{ABOUT}")]
    for key in sorted(found, reverse=True):
        name = key.split("/")[2].partition("-")[0]
        epoch = int(name) if name.isdecimal() else 0
        if epoch <= have:
            break
        aside = stage / f".fetch-{uuid.uuid4().hex[:8]}"
        aside.mkdir(parents=True)
        try:
            folder_key = key.removesuffix(f"/{ABOUT}")
            is_there = all(
                storage.get_file(f"{folder_key}/{name}", aside / name) for name in (STATE, ABOUT)
            )
            if is_there and is_whole(aside):
                aside.rename(stage / f"{EPOCH}{epoch:06}")
                return epoch
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return have


def remove_checkpoints(storage: Storage, digest: str) -> None:
    """Remove the checkpoints of a stage that is complete."""
    for entry in storage.list(f"checkpoints/{digest}"):
        storage.delete(entry.key)
