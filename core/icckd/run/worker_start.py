"""How the executor `local` starts workers: forked by a server that has loaded torch, or plainly.

A server (`icckd.run.worker_server`) is started with the first worker that trains, for this executor
alone. Until it is ready a worker waits, its orders in its pipe. Where there is no server, where it
refuses or ends, a worker is started the plain way: the same program, with the same pipes.
"""

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from icckd.resources import VISIBLE
from icckd.resources.processes import own_environment, python
from icckd.study.records import Device
from icckd.variables import forks_workers

MODULE = "icckd.run.worker"
SERVER = "icckd.run.worker_server"
READY = b"ready"
MESSAGE_BYTES = 1 << 16
FORK_SECONDS = 60.0
"""A server that does not answer for so long is taken for dead."""
END_SECONDS = 5.0
"""What a server has to end after its socket was closed."""


@dataclass(slots=True, eq=False)
class ForkedProcess:
    """A worker that a server forked, with the part of `subprocess.Popen` that is needed of one.

    Attributes:
        pid: Its number.
        descriptor: Its process descriptor: a signal never meets another process of that number.
        told: Where the server tells its exit code.
    """

    pid: int
    descriptor: int
    told: int
    returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.descriptor, number)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; of a process whose server died that of one that was killed.

        Raises:
            subprocess.TimeoutExpired: It has not ended after `timeout` seconds.
        """
        if self.returncode is None:
            for descriptor in (self.told, self.descriptor):
                if not select.select([descriptor], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(MODULE, timeout or 0.0)
            self.returncode = int(os.read(self.told, 16) or -signal.SIGKILL)
            os.close(self.told)
            os.close(self.descriptor)
        return self.returncode


@dataclass(slots=True, eq=False)
class StartedWorker:
    """A worker process, or one that waits for its server.

    Attributes:
        environment: Its variables.
        questions: Where it is told what to do.
        answers: What it says, unbuffered.
        theirs: Its ends of the two pipes, and where its output goes, until it has them.
        process: Its process, once there is one.
        code: How it ended, where it was ended while it waited.
    """

    environment: Mapping[str, str]
    questions: IO[bytes]
    answers: IO[bytes]
    theirs: tuple[int, ...]
    process: "subprocess.Popen[bytes] | ForkedProcess | None" = None
    code: int = -signal.SIGKILL

    @property
    def pid(self) -> int:
        """The number of its process; 0 while it waits for one."""
        return 0 if self.process is None else self.process.pid

    @property
    def is_waiting(self) -> bool:
        """Whether its process is still to come."""
        return bool(self.theirs)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended; errors as `ForkedProcess.wait`."""
        return self.code if self.process is None else self.process.wait(timeout)

    def start_plainly(self) -> None:
        """Start its process by itself."""
        questions, answers, log = self.theirs
        try:
            self.process = subprocess.Popen(
                [*python(MODULE), str(answers)],
                stdin=questions,
                stdout=log,
                stderr=log,
                env=own_environment(self.environment),
                pass_fds=(answers,),
                start_new_session=True,
            )
        finally:
            self.hand_over()

    def hand_over(self) -> None:
        """Close what is its own from now on."""
        for each in self.theirs:
            os.close(each)
        self.theirs = ()

    def _signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
        elif self.is_waiting:
            self.code = -number
            self.hand_over()


class WorkerStarter:
    """Starts the workers of one executor.

    Args:
        log: Where the server says what it has to say.
        threads: Threads of each worker. With several no server is used: their pools are sized while
            torch is loaded.
        device: On `cuda` there is one only where `ICCKD_WORKERS=fork` asks for it.
        selector: Gets the server's socket, with this starter as its data: `heed` is to be called
            when it can be read.
    """

    def __init__(
        self, log: Path, threads: int, device: Device, selector: selectors.BaseSelector
    ) -> None:
        self._log = log
        self._selector = selector
        asked = forks_workers(otherwise=device == "cpu")
        self._may_fork = asked and threads == 1 and hasattr(os, "pidfd_open")
        self._server: _Server | None = None

    def start(
        self, environment: Mapping[str, str], log: IO[bytes], *, trains: bool, has_plugins: bool
    ) -> StartedWorker:
        """Start a worker, or let it wait for the server.

        Args:
            environment: Its variables.
            log: Where its output goes.
            trains: Whether it is going to need torch at once.
            has_plugins: Whether it imports parts of the user before it reads those of icckd.
        """
        started = _with_pipes(environment, log)
        server = self._server_for(environment, has_plugins) if self._may_fork and trains else None
        if server is None:
            started.start_plainly()
        elif not server.is_ready:
            server.waiting.append(started)
        else:
            self._fork(server, started)
        return started

    def heed(self) -> None:
        """Hear what the server says: that it is ready, or its end."""
        server = self._server
        assert server is not None
        try:
            said = server.channel.recv(MESSAGE_BYTES)
        except OSError:
            said = b""
        waiting, server.waiting = [w for w in server.waiting if w.is_waiting], []
        if said == READY:
            server.is_ready = True
            for each in waiting:
                self._fork(server, each)
            return
        self._may_fork = server.is_ready  # one that never was would not be the next time
        self.close()
        for each in waiting:
            each.start_plainly()

    def close(self) -> None:
        """End the server; workers go on."""
        if self._server is not None:
            self._selector.unregister(self._server.channel)
            self._server.end()
            self._server = None

    def _server_for(self, environment: Mapping[str, str], has_plugins: bool) -> "_Server | None":
        """Return the server for a worker; None where the one that is there does not fit it."""
        common = {**own_environment(environment), VISIBLE: ""}
        if self._server is not None and self._server.process.poll() is not None:
            self.heed()  # it ended, and nobody has listened yet
        if not self._may_fork:
            return None
        if self._server is None:
            self._server = _start_server(self._log, common, has_parts=not has_plugins)
            self._selector.register(self._server.channel, selectors.EVENT_READ, self)
        server = self._server
        fits = server.environment == common and not (has_plugins and server.has_parts)
        return server if fits else None

    def _fork(self, server: "_Server", started: StartedWorker) -> None:
        """Have a worker forked; start it plainly where the server will not."""
        if self._server is server and server.fork(started):
            return
        if self._server is server:
            self.close()
        if started.is_waiting:
            started.start_plainly()


@dataclass(slots=True, eq=False)
class _Server:
    """The process of a server.

    Attributes:
        process: The process.
        channel: Socket to it.
        environment: The variables that it was started with.
        has_parts: Whether it has read the parts of icckd.
        is_ready: Whether it has said so.
        waiting: Workers until then.
    """

    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    environment: Mapping[str, str]
    has_parts: bool
    is_ready: bool = False
    waiting: list[StartedWorker] = field(default_factory=list)

    def fork(self, started: StartedWorker) -> bool:
        """Return whether a worker was forked.

        One whose server died between question and answer is over: nobody knows whether it began.
        """
        told, code = os.pipe()
        asked = json.dumps({"visible": started.environment[VISIBLE]}).encode()
        try:
            socket.send_fds(self.channel, [asked], [*started.theirs, code])
        except OSError:  # nobody got it
            os.close(told)
            return False
        finally:
            os.close(code)
        try:
            sent, descriptors, _, _ = socket.recv_fds(self.channel, MESSAGE_BYTES, 1)
        except OSError:
            sent, descriptors = b"", []
        answer = json.loads(sent) if sent else {}
        if descriptors:
            [descriptor] = descriptors
            os.set_inheritable(descriptor, False)
            started.process = ForkedProcess(answer["pid"], descriptor, told)
        else:
            os.close(told)
        if not answer.get("refused"):
            started.hand_over()
        return bool(descriptors)

    def end(self) -> None:
        """Close the socket, which ends the process."""
        self.channel.close()
        if not self.is_ready:
            self.process.kill()  # it would load torch first
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _with_pipes(environment: Mapping[str, str], log: IO[bytes]) -> StartedWorker:
    questions, to_worker = os.pipe()
    from_worker, answers = os.pipe()
    return StartedWorker(
        environment=environment,
        questions=os.fdopen(to_worker, "wb"),
        answers=os.fdopen(from_worker, "rb", buffering=0),
        theirs=(questions, answers, os.dup(log.fileno())),
    )


def _start_server(log: Path, environment: Mapping[str, str], *, has_parts: bool) -> _Server:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, log.open("ab") as output:
        process = subprocess.Popen(
            [*python(SERVER), str(theirs.fileno()), *(["parts"] if has_parts else [])],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    ours.settimeout(FORK_SECONDS)
    return _Server(process, ours, environment, has_parts)
