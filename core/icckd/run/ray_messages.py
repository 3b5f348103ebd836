"""What the three processes of the executor `ray` tell each other: session, driver, task.

All of it is text that travels as JSON; nothing of icckd is pickled. None of these imports Ray.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from icckd.study.records import Device

CPU, GPU, MEMORY = "CPU", "GPU", "memory"
"""What Ray calls what a task takes: CPUs, GPUs, and bytes."""
LINGER_SECONDS = 1.0
"""How long the worker of a task that ended well waits for another one, on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskJob:
    """What a task is told, beside its orders.

    Attributes:
        name: Names the list in the mailbox.
        version: The version of icckd that the session has.
        state_folder: State folder, as an absolute path.
        probe: A file of the state folder, relative to it.
        token: What that file holds.
        device: Where to train.
        threads: Threads of the worker.
        environment: The variables of icckd that the session has.
        identity: Of the storage that the session shares; "" where it shares none.
    """

    name: str
    version: str
    state_folder: str
    probe: str
    token: str
    device: Device
    threads: int
    environment: Mapping[str, str]
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverJob:
    """Where a driver connects, and what its tasks need.

    Attributes:
        address: Of the head node; "" starts a Ray on this machine, for this session alone.
        cpus: CPUs of that one.
        needs: What a task takes, in Ray's words.
        node: The largest node that an autoscaler may add, in the same words.
        nodes: How many of them it may add; 0 where nothing is declared.
        task: What every task is told, the name apart: the fields of a `TaskJob`.
    """

    address: str
    cpus: int
    needs: Mapping[str, float]
    task: Mapping[str, Any]
    node: Mapping[str, float] = field(default_factory=dict)
    nodes: int = 0


SAVE, FINISH, END = "save", "finish", "end"
"""Letters to a running task: save and leave, finish and leave, end at once."""


def skip_letter(attempts: Sequence[str]) -> str:
    """Return the letter that takes orders back."""
    return json.dumps(list(attempts))


def room(node: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """Return how many tasks fit on a node that has nothing else to do."""
    return int(min(node.get(what, 0) // amount for what, amount in needs.items() if amount))


def amounts(resources: Mapping[str, float]) -> str:
    """Return resources in words, such as `2 CPUs, 1 GPU, 3.0 GiB of memory`."""
    words = []
    for what in (CPU, GPU):
        if count := resources.get(what, 0):
            words.append(f"{count:g} {what}{'' if count == 1 else 's'}")
    if memory := resources.get(MEMORY, 0):
        words.append(f"{memory / 2**30:.1f} GiB of memory")
    return ", ".join(words) or "nothing"
