"""Walk the first hour of a new user, and keep what is printed in docs/quickstart.md.

    python docs/quickstart.py [--icckd PATH/TO/icckd] [--check]

runs every command of `STEPS` in an empty folder, as somebody would who has installed icckd and
nothing else, and writes the page. Times, paths and digests are normalised. With `--check` nothing
is written: exit 1 where a command fails or prints other lines than the page has; numbers may
differ, since another processor rounds otherwise. About 40 seconds of CPU.
"""

import argparse
import difflib
import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
SIZE = (80, 24)
_ALIKE = {"COLUMNS": str(SIZE[0]), "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": ""}
"""Variables that let the page say the same on every machine."""
TABLE = """method,seed,accuracy,minutes
ours,0,81.2,12
ours,1,80.7,12
ours,2,81.9,13
ours,3,81.1,12
ours,4,80.9,12
ours,5,81.4,12
no-ema,0,80.1,12
no-ema,1,79.9,12
no-ema,2,80.6,12
no-ema,3,80.2,12
no-ema,4,79.6,12
no-ema,5,80.4,12
"""


@dataclass(frozen=True)
class Step:
    """A command and what the page says before it.

    `head` and `tail` are how many of the printed lines the page shows; None shows all. Of a screen
    it shows the last, before `q` leaves it.
    """

    text: str
    command: str
    head: int | None = None
    tail: int = 0
    is_screen: bool = False


STEPS = (
    Step("Begin with an example; on a terminal `icckd init` alone asks what you have.",
         "icckd init --template digits"),
    Step("What would be trained, before anything is:", "icckd plan digits.toml"),
    Step("Train it. On a terminal three lines live below instead of a line for each stage.",
         "icckd run digits.toml", head=6, tail=15),
    Step("The same on a full screen, while it runs or afterwards; `?` shows the keys, `q` leaves.",
         "icckd watch digits", is_screen=True),
    Step("The whole table, what differs, and what a reader must know:",
         "icckd report digits", head=26),
    Step("As a page with curves and every seed, to read on a phone, to print or to send:",
         "icckd report digits -o report.html"),
    Step("Another question about the same baseline needs no other file. Its teachers are there.",
         "icckd run digits.toml --sweep student.distiller.temperature=1.0,8.0", head=4, tail=16),
    Step("Runs that you have already, from a table `results.csv` of method, seed and accuracy:",
         "icckd init --csv results.csv", head=12),
)  # fmt: skip

HEAD = """# The first hour

Written by [quickstart.py](quickstart.py), which runs these commands in an empty folder; our checks
run it from an installed wheel. Times, paths and digests are normalised.

<!-- not run: installs from an index -->
```sh
pip install icckd
```
"""
RUN_BY = (
    "<!-- run by tests/cli/test_quickstart.py::"
    "test_the_first_hour_runs_and_prints_what_the_page_says -->"
)
END = """
From here: the [tutorial](tutorial.md), which writes the study file itself; or a study of
[your own script](howto/script.md) (`icckd init --from train.py`), of
[a folder of images](howto/images.md) (`icckd init --data FOLDER`), or of
[your own code](your-own-method.md) (`icckd init --template task`).
"""


def main() -> int:
    """Run the steps; write the page, or compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--icckd", default=shutil.which("icckd") or "icckd")
    parser.add_argument("--check", action="store_true", help="compare with the page, write nothing")
    options = parser.parse_args()
    page = walked(Path(options.icckd).absolute())
    if not options.check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    known, found = (comparable(text) for text in (PAGE.read_text(encoding="utf-8"), page))
    differing = list(difflib.unified_diff(known, found, "docs/quickstart.md", "now", lineterm=""))
    print("\n".join(differing) or "docs/quickstart.md is what the first hour prints")
    return 1 if differing else 0


def walked(icckd: Path) -> str:
    """Return the page, made by running every step in an empty folder."""
    lines = [HEAD]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "results.csv").write_text(TABLE)
        for step in STEPS:
            words = [str(icckd), *shlex.split(step.command)[1:]]
            run = shown_on_screen if step.is_screen else printed
            found = normalised(run(words, folder), folder)
            lines += [step.text, "", RUN_BY, "```console", f"$ {step.command}"]
            lines += [line.rstrip() for line in cut(found, step)]
            lines += ["```", ""]
    return "\n".join(lines).rstrip("\n") + "\n" + END


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a user who has set none of icckd's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ICCKD_", "PYTHON"))}
    return {**kept, **_ALIKE, "HOME": str(folder)}


def printed(words: list[str], folder: Path) -> list[str]:
    """Return what a command prints, its notices among it.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        words, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout.splitlines()


def shown_on_screen(words: list[str], folder: Path) -> list[str]:
    """Return what a command shows on a terminal once it has been still for a while; `q` leaves it.

    Raises:
        RuntimeError: It failed.
    """
    master, slave = pty.openpty()
    width, height = SIZE
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    variables = {**environment(folder), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        words, cwd=folder, env=variables, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    screen = Screen(width, height)
    screen.take(_until_still(master, seconds=6.0))
    os.write(master, b"q")
    _until_still(master, seconds=1.0)
    if process.wait(20):
        raise RuntimeError(f"{shlex.join(words)}: exit code {process.returncode}")
    os.close(master)
    return screen.lines()


def _until_still(master: int, seconds: float) -> str:
    """Return what is written until nothing was for so many seconds, or the end."""
    taken, end = bytearray(), time.monotonic() + 60
    while time.monotonic() < end and select.select([master], [], [], seconds)[0]:
        try:
            taken += os.read(master, 1 << 16)
        except OSError:  # the program has left
            break
    return taken.decode("utf-8", "replace")


class Screen:
    """What a terminal shows: letters in cells. Colours and modes are passed over."""

    _PIECE = re.compile(
        r"\x1b\[([0-9;]*)([Hf])|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
        r"|\x1b[PX^_].*?\x1b\\|\x1b.|(\r)|(\n)|([^\x00-\x1f])",
        re.DOTALL,
    )

    def __init__(self, width: int, height: int) -> None:
        self._cells = [[" "] * width for _ in range(height)]
        self._row = self._column = 0

    def take(self, written: str) -> None:
        """Take in what a program writes."""
        for piece in self._PIECE.finditer(written):
            if piece[2]:
                row, _, column = piece[1].partition(";")
                self._row, self._column = int(row or 1) - 1, int(column or 1) - 1
            elif piece[3]:
                self._column = 0
            elif piece[4]:
                self._row += 1
            elif piece[5]:
                if self._row < len(self._cells) and self._column < len(self._cells[0]):
                    self._cells[self._row][self._column] = piece[5]
                self._column += 1

    def lines(self) -> list[str]:
        """Return the rows, without blanks at their ends."""
        return ["".join(row).rstrip() for row in self._cells]


_TIME = re.compile(r"\b\d+(?:\.\d+)? (?:min(?: \d+ s)?|s|h(?: \d+ min)?)\b")


def normalised(lines: list[str], folder: Path) -> list[str]:
    """Return lines without what differs from run to run: clocks, durations, paths, digests."""
    text = "\n".join(lines).replace(str(folder), "~")
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "12:00:00", text)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "0123456789ab", text)
    return _TIME.sub("… s", text).splitlines()


def cut(lines: list[str], step: Step) -> list[str]:
    """Return the lines that the page shows."""
    if step.head is None or len(lines) <= step.head + step.tail + 1:
        return lines
    return [*lines[: step.head], "...", *(lines[-step.tail :] if step.tail else [])]


def comparable(page: str) -> list[str]:
    """Return what must be the same everywhere: not numbers, not what follows from them.

    Another processor trains to other accuracies in their last digits, from which other verdicts
    can follow; of what a run or a report prints, lines count that say none. How long verdicts are
    decides whether the question before them is among the last lines, so that it does not count.
    """
    kept: list[str] = []
    step: Step | None = None
    for line in page.splitlines():
        if line.startswith("$ "):
            step = next((s for s in STEPS if line == f"$ {s.command}"), None)
        elif line == "```":
            step = None
        elif step is None:
            pass
        elif step.is_screen or (step.head is not None and not _SAYS_NO_VERDICT.match(line)):
            continue
        words = re.sub(r"[-+±]?\d[\d.,]*", "N", line)
        kept.append(" ".join(words.split()))
    return kept


_SAYS_NO_VERDICT = re.compile(
    r"(study \w+(:|,)|live view|verdicts on|arm  |full  |icckd: |student\.top1 in)"
)


if __name__ == "__main__":
    sys.exit(main())
