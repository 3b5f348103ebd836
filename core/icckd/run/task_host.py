"""Keeps one task: `python task_host.py`, a process between a worker and the user's code.

The task leads a process group. When it ends, or the worker dies, the host ends the group: nothing
of a task outlives its attempt. The descriptor of the stage's lock is inherited by the task, so that
no other attempt begins while any of its processes lives. Standard library only, for a quick start.

Standard input brings the order, a line of JSON, then "term" or "kill", a line each; its end means
that the worker is gone. The answers, JSON lines, go to the descriptor that the order names.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 5.0
"""How long a task whose worker died may take to end."""


def _end(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _ask_to_end(group: int, saves: bool) -> None:
    """Send SIGTERM: to the leader alone where it saves, for which it may need its children."""
    if saves:
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, signal.SIGTERM)
    else:
        _end(group, signal.SIGTERM)


def _obey(group: int, saves: bool) -> None:
    for line in sys.stdin:
        if line.strip() == "kill":
            _end(group, signal.SIGKILL)
        else:
            _ask_to_end(group, saves)
    _ask_to_end(group, saves)
    time.sleep(GRACE_SECONDS)
    _end(group, signal.SIGKILL)


def main() -> None:
    """Run the task to its end."""
    order = json.loads(sys.stdin.readline())
    answers = order["answers"]

    def say(**what: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(answers, json.dumps(what).encode() + b"\n")

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.set_inheritable(answers, False)
    try:
        child = subprocess.Popen(
            order["command"], cwd=order["folder"], stdin=subprocess.DEVNULL,
            start_new_session=True, pass_fds=tuple(order["kept"]), restore_signals=True,
        )  # fmt: skip
    except OSError as error:
        say(error=error.strerror or str(error), name=str(error.filename or order["command"][0]))
        return
    for descriptor in (*order["kept"], 1, 2):  # the task's from here on: their end is its end
        os.close(descriptor)
    say(pid=child.pid)
    threading.Thread(target=_obey, args=(child.pid, order["saves"]), daemon=True).start()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # its number stays taken
    _end(child.pid, signal.SIGKILL)
    code = child.wait()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    say(code=code, rss=peak if sys.platform == "darwin" else peak * 1024)


if __name__ == "__main__":
    main()
