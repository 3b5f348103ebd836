"""How icckd starts processes of its own: nothing that lies around or prints can reach them.

Such a process never imports from the current folder: a `random.py` or `torch.py` beside a study is
the user's. It answers over a pipe of its own and not over standard output, which belongs to whoever
prints: the banner of a cluster, a library, a stage.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from icckd.variables import CURRENT_FOLDER

SAFE_PATH = "PYTHONSAFEPATH"


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of icckd with this Python."""
    return [sys.executable, "-P", "-m", module, *arguments]


def own_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return variables under which Python looks for no module in the current folder.

    An empty entry of PYTHONPATH means that folder, as in `PYTHONPATH=$PYTHONPATH:/more`. A folder
    that is named in full stays: somebody put it there.

    Args:
        environment: The variables; by default those of this process.
    """
    variables = {**(os.environ if environment is None else environment), SAFE_PATH: "1"}
    entries = variables.pop("PYTHONPATH", "").split(os.pathsep)
    if kept := [entry for entry in entries if entry not in CURRENT_FOLDER]:
        variables["PYTHONPATH"] = os.pathsep.join(kept)
    return variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """A process of icckd, and the pipe of its answers.

    Attributes:
        process: The process, with its standard input.
        answers: What it says, unbuffered.
    """

    process: subprocess.Popen[bytes]
    answers: IO[bytes]

    @property
    def questions(self) -> IO[bytes]:
        """Its standard input."""
        assert self.process.stdin is not None
        return self.process.stdin


def start_helper(
    module: str,
    arguments: Sequence[str] = (),
    *,
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.PIPE,
    output: IO[bytes] | int | None = None,
    errors: IO[bytes] | int | None = None,
) -> Helper:
    """Start a module that takes the descriptor of its answers as its first argument.

    It leads a session of its own, so that Ctrl-C in the terminal does not reach it.

    Args:
        module: The module; its `main` begins with `answers`.
        arguments: Further arguments.
        command: Started instead of the module: an interpreter and a script.
        environment: Variables; by default those of this process. See `own_environment`.
        stdin: Its standard input.
        output: Its standard output, for what prints there unasked.
        errors: Its standard error.
    """
    ours, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [*(command or python(module)), str(theirs), *arguments],
            stdin=stdin,
            stdout=output,
            stderr=errors,
            env=own_environment(environment),
            pass_fds=(theirs,),
            start_new_session=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Helper(process=process, answers=os.fdopen(ours, "rb", buffering=0))


def answers() -> IO[bytes]:
    """Return where a helper says its answers, unbuffered; called in the helper, once."""
    descriptor = int(sys.argv.pop(1))
    os.set_inheritable(descriptor, False)
    return os.fdopen(descriptor, "wb", buffering=0)


def holders_text(path: Path) -> str:
    """Return which other processes have a file open, such as `pid 12 (python train.py)`.

    Processes of other users are not seen; where the system does not tell, the text is empty.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if any(_is_open(each, path) for each in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().split(b"\0")
                command = b" ".join(words).decode("utf-8", "replace").strip()
                found.append(f"pid {process.name} ({command[:80]})")
    return ", ".join(sorted(found))


def _is_open(descriptor: Path, path: Path) -> bool:
    try:
        return os.path.samefile(descriptor, path)
    except OSError:  # a pipe, or it was closed
        return False
