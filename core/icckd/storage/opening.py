"""Open the storage that is configured, and try once whether it keeps its one promise."""

import contextlib
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from icckd.configuration import StorageSettings
from icckd.errors import MachineError
from icckd.storage.base import Storage, StorageError, TakenError

ANSWER_SECONDS = 14.0
"""Storage that has not answered by then is told of as one that cannot be reached."""
RIVALS = 4
"""So many make one key at the same moment when storage is tried."""


def open_storage(settings: StorageSettings) -> Storage:
    """Return the storage that the settings name; nothing is asked of it yet.

    Raises:
        MachineError: What it takes is not installed, or a folder is not there.
    """
    parts = urlsplit(settings.url)
    if parts.scheme == "file":
        from icckd.storage.folder import FolderStorage

        root = Path(unquote(parts.path))
        if not root.is_dir():
            raise MachineError(
                f"storage {settings.url}: there is no such folder",
                hint="make it, or mount what it is on; it is never made by itself",
            )
        return FolderStorage(root)
    try:
        from icckd.storage.s3 import S3Storage
    except ImportError as error:
        raise MachineError(
            f"storage {settings.url} needs obstore: {error}", hint="pip install 'icckd[s3]'"
        ) from error
    return S3Storage(
        parts.netloc,
        parts.path.strip("/"),
        endpoint=settings.endpoint,
        region=settings.region,
    )


def try_storage(storage: Storage) -> None:
    """Try whether storage can be written, and refuses to make an object twice.

    Raises:
        StorageError: It cannot be reached or written, or it overwrites what was made once.
    """
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            _try(storage)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    if thread.is_alive():
        raise StorageError(
            f"storage {storage.url} does not answer within {ANSWER_SECONDS:g} s",
            hint="see `url` and `endpoint` in [storage]",
        )
    if failed:
        raise failed[0]


def _try(storage: Storage) -> None:
    key = f"probe/{uuid.uuid4().hex}"
    try:
        storage.create(f"{key}-twice", b"first")
        overwrites = _made_by(lambda: storage.create(f"{key}-twice", b"second")) > 0
        overwrites = overwrites or storage.get(f"{key}-twice") != b"first"
        if not overwrites:
            with ThreadPoolExecutor(RIVALS) as pool:
                rivals = (partial(storage.create, f"{key}-raced", b"%d" % n) for n in range(RIVALS))
                overwrites = sum(pool.map(_made_by, rivals)) > 1
        if overwrites:
            raise StorageError(
                f"storage {storage.url} overwrites an object that is to be made once: of two"
                " machines that finish one stage, the second would replace the first",
                hint="use a store with conditional puts (If-None-Match), such as AWS S3 or"
                " SeaweedFS; `rclone serve s3` has none",
            )
    finally:
        with contextlib.suppress(StorageError):
            storage.delete(f"{key}-twice")
            storage.delete(f"{key}-raced")


IDENTITY = "identity"


def identity_of(storage: Storage) -> str:
    """Return what tells storage from all others, made at the first time.

    Raises:
        StorageError: It refuses.
    """
    with contextlib.suppress(TakenError):
        if storage.get(IDENTITY) is None:
            storage.create(IDENTITY, uuid.uuid4().hex.encode())
    return known_identity(storage)


def known_identity(storage: Storage) -> str:
    """Return what a session has made to tell storage from all others.

    Raises:
        StorageError: It refuses, or has nothing of the kind.
    """
    if (found := storage.get(IDENTITY)) is None:
        raise StorageError(
            f"storage {storage.url} is empty here", hint="see `url` and `endpoint` in [storage]"
        )
    return found.decode("ascii", "replace")


def _made_by(create: Callable[[], None]) -> int:
    """Return 1 where an object could be made, 0 where its key was taken."""
    try:
        create()
    except TakenError:
        return 0
    return 1
