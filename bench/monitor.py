"""What the monitor costs on a real pseudo-terminal: `python bench/monitor.py [STATE_FOLDER]`.

`python bench/monitor.py memory` measures its memory alone, which other load does not change.

CPU time comes first; wall times suffer from whatever else the machine does. The series are
synthetic (`monitor_child.py`); with a state folder the first paint shows its real study.
"""

import fcntl
import json
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from timing import write_result

HERE = Path(__file__).parent
SIZES = {"160x45": (160, 45), "80x24": (80, 24)}
PAINTS = 10
HELLO = """
from textual.app import App
from textual.widgets import Static
class Hello(App):
    BINDINGS = [("q", "quit")]
    def compose(self):
        yield Static("Reading the study")
Hello().run()
"""
WATCH = [sys.executable, "-m", "icckd.cli.main", "watch", "--read-only"]


class Terminal:
    """A program on a pseudo-terminal; counts what it writes."""

    def __init__(self, command: list[str], size: tuple[int, int], **more: str) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        environment = {
            **os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor",
            "LC_ALL": "C.UTF-8", "PYTHONPATH": f"{HERE.parent}:{HERE.parent / 'core'}", **more,
        }  # fmt: skip
        for unwanted in ("NO_COLOR", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(unwanted, None)
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._master = master
        self.count = 0

    def until(self, marker: bytes, seconds: float = 30.0) -> float:
        """Read until the marker came; return the wall seconds since the start."""
        seen = b""
        while marker not in seen:
            if not select.select([self._master], [], [], seconds)[0]:
                raise TimeoutError(marker)
            seen = seen[-200:] + self._read()
        return time.perf_counter() - self.started

    def cpu(self) -> float:
        """Return the CPU seconds of the program so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def drain(self) -> None:
        """Read until the program ends."""
        while True:
            try:
                if not self._read():
                    break
            except OSError:
                break
        self.process.wait()
        os.close(self._master)

    def _read(self) -> bytes:
        data = os.read(self._master, 1 << 16)
        self.count += len(data)
        return data

    def end(self) -> None:
        """Press q and wait."""
        os.write(self._master, b"q")
        self.drain()


def start(command: list[str], state: str) -> tuple[float, float]:
    """Return wall and CPU seconds until the first text is on the terminal."""
    terminal = Terminal(command, SIZES["160x45"], ICCKD_HOME=state)
    wall = terminal.until(b"Reading the study")
    found = (wall, terminal.cpu())
    time.sleep(1.0)
    terminal.end()
    return found


def starts(state: str) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the starts of the monitor and, between them, of the smallest Textual app."""
    hello = [sys.executable, "-c", HELLO]
    start(WATCH, state)  # leaves bytecode
    pairs = [(start(WATCH, state), start(hello, state)) for _ in range(PAINTS)]
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def scenario(name: str, size: str = "160x45") -> dict[str, float]:
    """Run one scenario of the child; return its figures, with the bytes that it wrote."""
    with tempfile.NamedTemporaryFile() as answer:
        command = [sys.executable, str(HERE / "monitor_child.py"), name, answer.name]
        terminal = Terminal(command, SIZES[size])
        terminal.drain()
        figures: dict[str, float] = json.loads(Path(answer.name).read_text())
    if "seconds" in figures:
        figures["kB/s"] = terminal.count / 1000 / figures["seconds"]
    return figures


def row(what: str, goal: str, figure: str) -> str:
    """Return one line of the table."""
    return f"| {what} | {goal} | {figure} |"


HEAD = ("| what | goal | measured |", "| --- | --- | --- |")


def memory_row() -> str:
    """Measure the memory; return its line of the table."""
    memory = scenario("memory")
    return row(
        "resident, 60 trials x 4 series x 100k points in a frame", "<= 250 MB",
        f"{memory['rss'] / 1e6:.0f} MB (without them {memory['base'] / 1e6:.0f})",
    )  # fmt: skip


def main() -> None:
    """Measure everything once and write the result."""
    if sys.argv[1:] == ["memory"]:
        write_result("monitor-memory", [*HEAD, memory_row()])
        return
    with tempfile.TemporaryDirectory() as empty:
        ours, hello = starts(sys.argv[1] if len(sys.argv) > 1 else empty)
    chart, idle, live, keys = (scenario(name) for name in ("chart", "idle", "live", "keys"))
    small, table = scenario("live", "80x24"), scenario("table")
    (wall, cpu), (wall_0, cpu_0) = (
        [statistics.median(column) for column in zip(*found, strict=True)]
        for found in (ours, hello)
    )
    write_result(
        "monitor",
        [
            f"load average while measuring: {os.getloadavg()[0]:.1f}; series and tables synthetic",
            "",
            *HEAD,
            row("first paint, wall p50", "<= 450 ms", f"{wall * 1e3:.0f} ms (n = {len(ours)};"
                f" the smallest Textual app {wall_0 * 1e3:.0f} ms, ratio {wall / wall_0:.2f})"),
            row("first paint, CPU p50", "", f"{cpu * 1e3:.0f} ms (the smallest {cpu_0 * 1e3:.0f})"),
            row("10 series x 100k points, CPU a frame p50", "<= 12 ms",
                f"{chart['p50'] * 1e3:.1f} ms (p95 {chart['p95'] * 1e3:.1f})"),
            row("dashboard tick, CPU p95", "<= 35 ms",
                f"{live['tick_p95'] * 1e3:.1f} ms (p50 {live['tick_p50'] * 1e3:.1f})"),
            row("idle, share of a core", "<= 0.5 %", f"{idle['share']:.2f} %"),
            row("live at 4 Hz, share of a core", "<= 12 %", f"{live['share']:.1f} %"),
            row("live at 4 Hz, 80x24", "<= 6 %", f"{small['share']:.1f} %"),
            row("key to paint while live, wall p95", "<= 50 ms",
                f"{keys['key_p95'] * 1e3:.1f} ms (p50 {keys['key_p50'] * 1e3:.1f})"),
            row("event-loop lag while live, wall p99", "<= 30 ms",
                f"{keys['lag_p99'] * 1e3:.1f} ms (most {keys['lag_max'] * 1e3:.0f})"),
            row("written while live at 4 Hz", "<= 80 kB/s", f"{live['kB/s']:.0f} kB/s"
                f" (with keys {keys['kB/s']:.0f})"),
            row("10,000 trials, filled, CPU", "<= 50 ms", f"{table['fill'] * 1e3:.1f} ms"),
            row("10,000 trials, updated, CPU p50", "<= 8 ms",
                f"{table['update'] * 1e3:.1f} ms"),
            memory_row(),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
