"""The state folder: what lies where under `.icckd/`.

.icckd/
  owner.lock                        held by the one process that may write the database
  icckd.duckdb                      projection of the journals; may be deleted at any time
  sessions/<session>/journal.jsonl  one folder per `icckd run`, with code.json (git state)
  attempts/<attempt>/journal.jsonl  one folder per attempt, with output.log
  artifacts/<digest>/               what a stage left: manifest.json and its files
  checkpoints/<digest>/             where an unfinished stage resumes; gone when it is finished
  restored/<archive>.json           what an archive that was restored here did not hold
  tasks/<token>/                    what a scheduler carries out in jobs (icckd.run.submissions)
  requests/<request>.json           what viewers ask of the running session
  locks/<stage>.lock                held by the process that works on a stage
  locks/<stage>.token               the newest order of an unfinished stage
"""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from icckd import variables
from icckd.errors import MachineError
from icckd.resources.host import network_file_system

JOURNAL = "journal.jsonl"
OUTPUT = "output.log"
CODE = "code.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_journal_name(name: str) -> bool:
    """Whether a folder of a session or an attempt can have this name."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths inside one state folder."""

    root: Path

    @classmethod
    def current(cls) -> "StateFolder":
        """Return `ICCKD_HOME`, or `.icckd` in the current folder."""
        return cls(variables.state_folder())

    @property
    def owner_lock(self) -> Path:
        """The file whose lock makes a process the owner."""
        return self.root / "owner.lock"

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.root / "icckd.duckdb"

    @property
    def sessions(self) -> Path:
        """Folders of sessions."""
        return self.root / "sessions"

    @property
    def attempts(self) -> Path:
        """Folders of attempts."""
        return self.root / "attempts"

    @property
    def artifacts(self) -> Path:
        """Folders of artifacts, named by digest."""
        return self.root / "artifacts"

    @property
    def checkpoints(self) -> Path:
        """Folders of unfinished stages' checkpoints, named by digest."""
        return self.root / "checkpoints"

    @property
    def requests(self) -> Path:
        """Requests to the running session."""
        return self.root / "requests"

    @property
    def locks(self) -> Path:
        """Lock files, one a stage."""
        return self.root / "locks"

    @property
    def restored(self) -> Path:
        """What the archives did not hold that were restored here, a file each."""
        return self.root / "restored"

    @property
    def tasks(self) -> Path:
        """Folders of what schedulers carry out; there is none before the first."""
        return self.root / "tasks"

    @property
    def quarantine(self) -> Path:
        """What could not be read; nothing reads it again."""
        return self.root / "quarantine"

    def exists(self) -> bool:
        """Whether any session was ever started here.

        Raises:
            MachineError: Nobody can tell: it may not be entered, or it is not a folder.
        """
        try:
            if self.root.exists() and not self.root.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder")
            self._refuse_lost_link()
            return self.sessions.is_dir()
        except OSError as error:
            raise MachineError(
                f"cannot read the state folder {self.root}: {error.strerror}",
                hint="set ICCKD_HOME to a folder that you may enter",
            ) from error

    def create(self) -> None:
        """Make the folder and its parts.

        Raises:
            MachineError: It cannot be written, or lies on a network file system.
        """
        self._refuse_network()
        try:
            self._refuse_lost_link()
            for folder in (
                self.sessions, self.attempts, self.artifacts, self.requests, self.locks
            ):  # fmt: skip
                folder.mkdir(parents=True, exist_ok=True)
            self.owner_lock.touch()
        except OSError as error:
            raise MachineError(
                f"cannot write the state folder {self.root}: {error.strerror}",
                hint="set ICCKD_HOME to a folder that can be written",
            ) from error

    def _refuse_lost_link(self) -> None:
        try:
            self.root.stat()  # a link to itself is told by the system: too many levels
        except NotADirectoryError:  # a file lies above it, so nothing can be here
            return
        except FileNotFoundError as error:
            if self.root.is_symlink():
                about = f"it is a link to {os.readlink(self.root)}, which leads nowhere"
                raise FileNotFoundError(errno.ENOENT, about) from error

    def _refuse_network(self) -> None:
        kind = network_file_system(self.root)
        if kind and variables.allows_network() in ("", "0"):
            raise MachineError(
                f"the state folder {self.root} lies on {kind}, where locks and appends of several"
                " machines are not safe",
                hint=f"set ICCKD_HOME to a local disk, or {variables.ALLOW_NETWORK}=1 if one"
                " machine uses it",
            )

    def journals(self) -> Iterator[Path]:
        """Yield every journal, sessions first, each group in the order of its names.

        A folder just made may not have its journal yet; folders with other names than ours are
        left out.
        """
        for group in (self.sessions, self.attempts):
            if group.is_dir():
                with os.scandir(group) as entries:
                    names = sorted(
                        e.name for e in entries if is_journal_name(e.name) and e.is_dir()
                    )
                yield from (group / name / JOURNAL for name in names)
