"""Talking with Slurm: its own commands, each with a time limit, formatted output, no library."""

import re
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from icckd.errors import MachineError
from icckd.journal.events import Cause

FORMAT = "%j|%F|%K|%T|%r"
"""Of squeue: name, job, place in its array, state in full, reason."""
NAMES_A_CALL = 200
OPEN = frozenset(
    (
        "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING", "REQUEUED",
        "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "SIGNALING", "STAGE_OUT",
        "STOPPED",
    )
)  # fmt: skip
"""States of a task that is not over, as squeue's manual lists them."""
CAUSES: dict[str, Cause] = {
    "TIMEOUT": "preempted",
    "PREEMPTED": "preempted",
    "OUT_OF_MEMORY": "out-of-memory",
}
"""Why what a task was training is lost, by the state in which it ended; else it was killed."""
_AWAY = re.compile(
    r"unable to contact slurm controller|socket timed out|connection (?:refused|timed out)"
    r"|zero bytes were transmitted|transport endpoint|slurm backup controller in standby"
    r"|unable to connect|timed out|resource temporarily unavailable",
    re.I,
)
FORGOTTEN = "FORGOTTEN"
"""Of a task that Slurm does not know any more; no state of its own."""
_STUCK = re.compile(r"launch failed|requeued in held", re.I)
_FULL = re.compile(r"MaxSubmit\w*Limit|temporarily unable to accept job|MaxJobCount", re.I)


class SlurmAwayError(MachineError):
    """Slurm's controller does not answer."""


class SlurmFullError(MachineError):
    """Slurm takes no more tasks just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What Slurm allows: tasks of one array, and of all jobs."""

    array: int
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """How a task stands.

    Attributes:
        job: The array's job.
        state: As squeue says it.
        reason: Why it waits, or ended.
    """

    job: str
    state: str
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it runs no more, unless somebody has it run again."""
        return self.state not in OPEN

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for ever: its node failed to launch it, and Slurm holds it since."""
        return self.state == "PENDING" and bool(_STUCK.search(self.reason))

    @property
    def cause(self) -> Cause:
        """Why what it was training is lost."""
        return CAUSES.get(self.state, "killed")

    @property
    def words(self) -> str:
        """How it ended, in words."""
        if self.state == FORGOTTEN:
            return "Slurm has forgotten its task"
        more = f" ({self.reason})" if self.reason not in ("", "None") else ""
        return f"Slurm ended its task: {self.state}{more}"


class SlurmClient:
    """Slurm's commands.

    Args:
        seconds: How long one may take; Slurm's own limit is 10 s, unless configured otherwise.
    """

    def __init__(self, seconds: float = 12.0) -> None:
        self._seconds = seconds

    def limits(self) -> Limits:
        """Return what Slurm allows; errors as `tasks`."""
        return limits_in(self._run("scontrol", "show", "config"))

    def partitions(self) -> list[str]:
        """Return the partitions; errors as `tasks`."""
        text = self._run("scontrol", "--oneliner", "show", "partition")
        return re.findall(r"^PartitionName=(\S+)", text, re.M)

    def submit(self, script: Path) -> str:
        """Submit a script; return its job.

        Raises:
            SlurmAwayError: No answer came: nobody knows whether it was submitted.
            SlurmFullError: Slurm takes no more just now.
            MachineError: It is refused.
        """
        return self._run("sbatch", "--parsable", str(script)).strip().partition(";")[0]

    def tasks(self, names: Sequence[str]) -> dict[tuple[str, int], TaskState]:
        """Return how the tasks of jobs stand, by name and place in the array.

        What Slurm has forgotten, minutes after its end, is missing.

        Raises:
            SlurmAwayError: The controller does not answer in time.
            MachineError: A command is missing, or fails otherwise.
        """
        found: dict[tuple[str, int], TaskState] = {}
        for some in _in_pieces(names, NAMES_A_CALL):
            found |= tasks_in(
                self._run(
                    "squeue", "--noheader", "--array", "--states=all",
                    f"--name={','.join(some)}", f"--format={FORMAT}",
                )
            )  # fmt: skip
        return found

    def cancel(self, name: str, jobs: Collection[str], *, only_waiting: bool = False) -> None:
        """Cancel a job, or tasks of it as in `17_3`; what Slurm has forgotten is over.

        Only what has this name is cancelled: a controller that lost its state gives numbers again.
        """
        if jobs:
            waiting = ["--state=PENDING"] if only_waiting else []
            self._run("scancel", "--quiet", f"--name={name}", *waiting, *sorted(jobs))

    def _run(self, *words: str) -> str:
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=self._seconds, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise MachineError(
                f"Slurm's command {words[0]} is not installed here",
                hint="run on a login node of the cluster, or with --executor local",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise SlurmAwayError(
                f"Slurm's {words[0]} gave no answer within {self._seconds:g} s",
                hint="sinfo shows whether its controller is up; slurm.client_seconds is the limit",
            ) from error
        if done.returncode == 0:
            return done.stdout
        said = _last_words(done.stderr or done.stdout) or f"exit {done.returncode}"
        if _FULL.search(said):
            raise SlurmFullError(f"Slurm takes no more tasks: {said}", hint="slurm.tasks = fewer")
        if _AWAY.search(said):
            raise SlurmAwayError(
                f"Slurm's controller does not answer {words[0]}: {said}",
                hint="sinfo shows whether it is up",
            )
        raise MachineError(
            f"Slurm's {words[0]} failed: {said}",
            hint="sinfo tells whether Slurm works; [slurm] in config.toml has what is asked for",
        )


def limits_in(text: str) -> Limits:
    """Return the limits that `scontrol show config` tells; Slurm's defaults where it does not."""
    told = dict(re.findall(r"^(\w+)\s*=\s*(\d+)\s*$", text, re.M))
    return Limits(
        array=max(1, int(told.get("MaxArraySize", 1001)) - 1),
        jobs=max(1, int(told.get("MaxJobCount", 10_000))),
    )


def tasks_in(text: str) -> dict[tuple[str, int], TaskState]:
    """Return the tasks that squeue tells of; lines of another form are passed over."""
    found = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) == 5 and parts[2].isdecimal():
            name, job, place, state, reason = parts
            found[name, int(place)] = TaskState(job=job, state=state, reason=reason)
    return found


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line.removeprefix("sbatch: error: ") for line in lines[-2:])


def _in_pieces(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
