"""SQL that somebody typed, run where it can do no harm: in a child process of its own.

The child holds a copy of the results in memory, cut off from files, and has limits on memory, CPU
time, open files and the size of files (none). It may be killed at any time, and is after
`WALL_SECONDS`. What it prints is JSON, so that nothing it sends is executed here.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from icckd.errors import MachineError, UsageError
from icckd.resources.processes import Helper, start_helper
from icckd.results.types import Table

MEMORY_BYTES = 1 << 30  # beyond what the child uses when it is ready
CPU_SECONDS = 5
WALL_SECONDS = 30.0
START_SECONDS = 300.0  # a large state folder takes a while to read
REPLY_BYTES = 64 << 20
END_SECONDS = 5.0  # until a child that closed its answers is gone
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")


class _RefusedError(UsageError):
    """The child refused a statement; it keeps running."""


class Fence:
    """Answers SQL about one state folder from a child process, started when first needed."""

    def __init__(self, folder: Path, *, wall_seconds: float = WALL_SECONDS) -> None:
        self._folder = folder
        self._wall_seconds = wall_seconds
        self._child: Helper | None = None

    def ask(self, sql: str, *, rows: int) -> tuple[Table, bool]:
        """Return the answer to one reading statement, and whether rows beyond the limit were cut.

        Args:
            sql: The statement.
            rows: How many rows at most.

        Raises:
            UsageError: It is not one reading statement, DuckDB refuses it, or it takes too much.
            MachineError: The child does not start.
        """
        child = self._running()
        try:
            return self._exchange(child, sql, rows)
        except BaseException as error:
            if not isinstance(error, _RefusedError):
                self.close()
            raise

    def close(self) -> None:
        """Stop the child; the next question starts a new one, with what is new in the journals."""
        child, self._child = self._child, None
        if child is not None:
            child.process.kill()
            child.process.wait()
            for pipe in (child.questions, child.answers):
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> "Fence":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _running(self) -> Helper:
        if self._child is None:
            self._child = start_helper(
                "icckd.results.sandbox_child",
                [str(self._folder)],
                environment={name: os.environ[name] for name in _KEPT if name in os.environ},
                output=subprocess.DEVNULL,
            )
            if _reply(self._child, START_SECONDS) != {"ready": True}:
                self.close()
                raise MachineError(
                    "the process that answers SQL did not start", hint="its error is above"
                )
        return self._child

    def _exchange(self, child: Helper, sql: str, rows: int) -> tuple[Table, bool]:
        with contextlib.suppress(BrokenPipeError):
            child.questions.write(json.dumps({"sql": sql, "rows": rows}).encode() + b"\n")
            child.questions.flush()
        until = time.monotonic() + self._wall_seconds
        reply = _reply(child, self._wall_seconds)
        if reply is None:
            raise _stopped(child.process, self._wall_seconds, is_late=time.monotonic() >= until)
        if "error" in reply:
            raise _RefusedError(reply["error"], hint=reply["hint"])
        return (
            Table(columns=tuple(reply["columns"]), rows=tuple(tuple(r) for r in reply["rows"])),
            bool(reply["is_cut"]),
        )


def _reply(child: Helper, seconds: float) -> dict[str, Any] | None:
    """Return one line of the child as JSON; None when it ended, took too long or sent too much."""
    until, parts = time.monotonic() + seconds, bytearray()
    while not parts.endswith(b"\n"):
        ready, _, _ = select.select([child.answers], [], [], max(0.0, until - time.monotonic()))
        piece = os.read(child.answers.fileno(), 1 << 16) if ready else b""
        if not piece or len(parts) > REPLY_BYTES:
            return None
        parts += piece
    found = json.loads(parts)
    return found if isinstance(found, dict) else None


def _stopped(
    child: "subprocess.Popen[bytes]", seconds: float, *, is_late: bool
) -> UsageError | MachineError:
    """Return the error that says why the child gave no answer."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.2 if is_late else END_SECONDS)
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return UsageError(
            f"SQL: stopped after {CPU_SECONDS} s of CPU time", hint="ask for less, or add a limit"
        )
    if child.returncode is None:
        return UsageError(f"SQL: stopped after {seconds:g} s", hint="ask for less, or add a limit")
    if child.returncode < 0:  # so ends a process whose allocator gets no memory
        return UsageError("SQL: it needed more memory than it may have", hint="ask for less")
    return MachineError(
        f"SQL: the process that answers ended with exit {child.returncode}",
        hint="its error is above; ask in another way",
    )
