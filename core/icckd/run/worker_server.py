"""`python -m icckd.run.worker_server N [parts]`: forks workers, with torch loaded once for all.

Loading torch and what trains takes a worker some seconds and hundreds of megabytes; forked from a
process that has loaded them it begins within some hundredths of a second and shares that memory.
The server trains nothing and runs no code of the user: plug-ins and tasks are imported by workers,
after the fork. No GPU has been looked at and no thread runs when it forks, so that a worker
computes the same bits as one that was started by itself.

N is a socket to the executor (`icckd.run.worker_start`). The server says `ready`; each message then
brings the descriptors of one worker, and is answered with its process, or with why there is none.
The exit code of a worker goes into a pipe that came with it. When the socket ends, because the
session closed it or died, so does the server; its workers see their own standard input end.
"""

import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from icckd.resources import VISIBLE
from icckd.run import attempt, worker
from icckd.run.worker_start import MESSAGE_BYTES, READY
from icckd.study import registry

UNFIT = b"unfit"
Stamp = tuple[int, int, int]


class Birth(NamedTuple):
    """What a new worker is made of: the GPU it sees, and its descriptors."""

    visible: str
    questions: int
    answers: int
    log: int


def main() -> None:
    """Serve until the socket ends, or return to be a worker in a process that was forked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    began = time.time_ns()
    importlib.import_module("icckd.run.training")
    if "parts" in sys.argv[2:]:  # without plug-ins to come, which are read together with these
        registry.load()
        attempt.load_engine()
    stamps = _stamps()
    if any(changed >= began for changed, _, _ in stamps.values()) or not _is_fit():
        channel.send(UNFIT)
        return
    gc.collect()
    gc.freeze()  # a collection in a worker would write to every page that it shares
    channel.send(READY)
    birth = Server(channel, stamps).run()
    if birth is None:
        os._exit(0)  # an orderly end would take torch apart for half a second
    _be_worker(birth)


@dataclass
class Server:
    """The loop of the server.

    Attributes:
        channel: Socket to the executor.
        stamps: The files of everything that is loaded, as they were then.
        children: Process and pipe for the exit code of each worker, by its process descriptor.
    """

    channel: socket.socket
    stamps: dict[str, Stamp]
    children: dict[int, tuple[int, int]] = field(default_factory=dict)

    def run(self) -> Birth | None:
        """Fork workers until the socket ends; return in each worker what it is made of."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.channel, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self.channel:
                    self._bury(key.fd)
                    continue
                said, descriptors, _, _ = socket.recv_fds(self.channel, MESSAGE_BYTES, 4)
                if not said:
                    return None
                birth = self._bear(json.loads(said), descriptors)
                if birth is not None:
                    return birth

    def _bear(self, asked: dict[str, str], descriptors: list[int]) -> Birth | None:
        """Fork a worker; return in it what it is made of, and here None."""
        questions, answers, log, code = descriptors
        refused = "" if _stamps(self.stamps) == self.stamps else "its source changed"
        if refused:
            for each in descriptors:
                os.close(each)
            self.channel.send(json.dumps({"refused": refused}).encode())
            return None
        pid = os.fork()
        if pid == 0:
            self._leave_to_parent(code)
            return Birth(asked["visible"], questions, answers, log)
        process = os.pidfd_open(pid)
        for each in (questions, answers, log):
            os.close(each)
        self.children[process] = pid, code
        self._selector.register(process, selectors.EVENT_READ)
        socket.send_fds(self.channel, [json.dumps({"pid": pid}).encode()], [process])
        return None

    def _leave_to_parent(self, code: int) -> None:
        """Close, in a worker, what belongs to the server."""
        self._selector.close()
        self.channel.close()
        os.close(code)
        for process, (_, pipe) in self.children.items():
            os.close(process)
            os.close(pipe)

    def _bury(self, process: int) -> None:
        """Tell the exit code of a worker that ended."""
        pid, pipe = self.children.pop(process)
        self._selector.unregister(process)
        os.close(process)
        _, status = os.waitpid(pid, 0)
        os.write(pipe, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(pipe)


def _be_worker(birth: Birth) -> None:
    """Be a worker until it ends, in a session of its own, as if started by itself."""
    os.setsid()
    os.dup2(birth.questions, 0)
    for number in (1, 2):
        os.dup2(birth.log, number)
    for each in (birth.questions, birth.log):
        os.close(each)
    os.set_inheritable(birth.answers, False)
    os.environ[VISIBLE] = birth.visible
    random.seed()
    attempt.FORKED.set()
    worker.serve(os.fdopen(0, "rb", closefd=False), os.fdopen(birth.answers, "wb", buffering=0))


def _is_fit() -> bool:
    """Whether nothing here would be lost or shared by a fork: no thread runs, no GPU is in use."""
    has_gpu = sys.modules["torch"].cuda.is_initialized()
    return len(os.listdir("/proc/self/task")) == 1 and not has_gpu


def _stamps(known: dict[str, Stamp] | None = None) -> dict[str, Stamp]:
    """Return change, size and inode of the files of all modules that are loaded, or were then."""
    files = known or {
        file
        for module in tuple(sys.modules.values())
        if (file := getattr(module, "__file__", None))
    }
    found = {}
    for file in files:
        try:
            stat = os.stat(file)
        except OSError:
            continue
        found[file] = stat.st_mtime_ns, stat.st_size, stat.st_ino
    return found


if __name__ == "__main__":
    main()
