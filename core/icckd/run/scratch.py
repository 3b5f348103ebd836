"""Where a node works that does not see the state folder of its session: a scratch state folder.

Storage that machines share (`icckd.storage`) carries all that such a node needs: artifacts that a
stage reads are fetched once a node, checkpoints and journals are pushed, and what is published is
published there. The scratch folder is a state folder without sessions and without a database; it
is found again by the next task on the node, and whoever removes it between two runs loses nothing.

Data sets are looked for below the node's own `ICCKD_DATA_DIR`, else where the session has them.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from icckd.configuration import StorageSettings
from icckd.errors import MachineError
from icckd.journal.artifacts import sweep
from icckd.journal.file import first_line
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.run.messages import Order
from icckd.storage.base import StorageError
from icckd.storage.opening import known_identity, open_storage
from icckd.storage.segments import SegmentWriter, key_of
from icckd.variables import DATA, expanded

PROBE_SECONDS = 5.0
"""How long a node may take to show a file that another one wrote: caches of NFS."""
_LOOK_SECONDS = 0.2
_OWN_DATA = os.environ.get(DATA, "")
"""The node's own, read before a task takes over the variables of its session."""


def is_seen(path: Path, text: str = "") -> bool:
    """Whether a file of the session's state folder is seen here, with what it holds, if given.

    Where not even the folder above its folder is there nothing is waited for.
    """
    end = time.monotonic() + PROBE_SECONDS
    while not (found := _text(path)) or (text and found != text):
        if time.monotonic() > end or not path.parent.parent.is_dir():
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _text(path: Path) -> str:
    try:
        os.scandir(path.parent).close()  # has NFS look again
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


class Scratch:
    """A node's scratch state folder for one storage.

    Args:
        settings: Of the storage.
        identity: What tells the storage from all others, as the session knows it.

    Attributes:
        folder: The state folder.

    Raises:
        MachineError: It cannot be made, or what S3 takes is not installed.
        StorageError: Storage refuses, or is another one than the session's.
    """

    def __init__(self, settings: StorageSettings, identity: str) -> None:
        self._storage = open_storage(settings)
        self._identity = identity
        self.folder = StateFolder(_own_folder(settings.scratch) / _name(settings, identity))
        self.folder.create()
        with contextlib.suppress(OSError):
            sweep(self.folder)

    def try_storage(self) -> None:
        """Try whether storage can be read here, and is the session's.

        Raises:
            StorageError: It cannot.
            MachineError: It is another one.
        """
        if known_identity(self._storage) != self._identity:
            raise MachineError(
                f"storage {self._storage.url} is another one here than where the session runs",
                hint="mount the same folder on every node, or use the same endpoint",
            )

    def orders(self, orders: Sequence[Order]) -> list[Order]:
        """Return orders as they are carried out here."""
        return [self._here(order) for order in orders]

    def push_rest(self, attempt: str) -> None:
        """Push what a dead worker left unpushed of its attempt's journal, if storage takes it."""
        path = self.folder.attempts / attempt / JOURNAL
        header = first_line(path)
        if header is not None:
            with contextlib.suppress(StorageError):
                SegmentWriter(self._storage, key_of(header), path).push()

    def _here(self, order: Order) -> Order:
        data = expanded(_OWN_DATA, DATA).absolute() if _OWN_DATA else Path(order.data_root)
        return replace(order, state_folder=str(self.folder.root), data_root=str(data))


def _own_folder(wanted: str) -> Path:
    """Return a folder on this node that is ours alone, made if need be.

    Raises:
        MachineError: It cannot be made, or somebody else made it: temporary folders are shared.
    """
    path = Path(wanted or tempfile.gettempdir()) / f"icckd-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise MachineError(
            f"cannot write the scratch folder {path}: {error.strerror}",
            hint="name another one: `scratch` under [storage] in config.toml",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise MachineError(
            f"the scratch folder {path} is not this user's own",
            hint="remove it, or name another one: `scratch` under [storage] in config.toml",
        )
    return path


def _name(settings: StorageSettings, identity: str) -> str:
    told = f"{settings.url}\n{settings.endpoint}\n{identity}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]
