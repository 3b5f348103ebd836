"""A real pseudo-terminal with the monitor on it, and a study to look at."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

WATCH = (sys.executable, "-m", "icckd.cli.main", "watch")
SECONDS = 20.0
ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_].*?\x1b\\|.)"
)
COLORS = re.compile(rb"\x1b\[([\d;]*)m")


class Terminal:
    """A program on a terminal; keeps what it writes.

    Variables of the environment are added, or left out where their value is None. Where it is not
    `controlling`, the program gets no signals of the terminal.
    """

    def __init__(self, state, *command, size=(160, 45), controlling=True, **variables):
        self.master, slave = pty.openpty()
        self.set_size(*size)
        environment = {
            **os.environ, "ICCKD_HOME": str(state), "TERM": "xterm-256color",
            "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", "COLUMNS": None, "LINES": None,
            **variables,
        }  # fmt: skip
        self.process = subprocess.Popen(
            command or WATCH,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={name: value for name, value in environment.items() if value is not None},
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if controlling else None,
        )
        os.close(slave)
        self.written = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        if self.master is not None:
            os.close(self.master)

    def set_size(self, width, height):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    @property
    def text(self):
        """What was written so far without its escape sequences."""
        return ESCAPES.sub(b"", self.written).decode("utf-8", "replace")

    @property
    def colors(self):
        """The codes of all SGR sequences written so far."""
        return [found.decode().split(";") for found in COLORS.findall(self.written)]

    def read(self, seconds):
        """Take what comes within a time."""
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            if select.select([self.master], [], [], rest)[0]:
                self.written += os.read(self.master, 1 << 16)

    def forget(self):
        self.written = b""

    def until(self, *words):
        """Read until all these words were written."""
        end = time.monotonic() + SECONDS
        while not all(word in self.text for word in words):
            assert time.monotonic() < end, self.text[-4000:]
            assert self.process.poll() is None, self.text[-4000:]
            self.read(0.05)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def leave(self):
        """Press q; return the exit code."""
        self.press("q")
        return self.wait()

    def wait(self):
        """Read until it ends; return the exit code."""
        end = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            try:
                self.read(0.05)
            except OSError:  # the last program on it left
                break
        return self.process.wait(SECONDS)

    def hang_up(self):
        """Take the terminal away; a program with a session of its own gets no signal."""
        os.close(self.master)
        self.master = None

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
