"""`python -m icckd.run.ray_driver N`: Ray's driver of one session, in a process of its own.

Ray takes over signals, starts threads, prints, and ends its process when it loses its head node. So
it has a process beside the session, which speaks with it in JSON lines and outlives it
(`icckd.run.ray_executor`). Standard input brings what is to be done, descriptor N carries answers.

The first line says where to connect (`DriverJob`). Then come, one object a line:

    {"submit": LIST, "orders": "...", "memory": BYTES, "resource": "..."}
    {"tell": LIST, "letter": "...", "withdraws": ...}

and answers, until standard input ends: with `{"end": true}` before, everything is ended at once;
without it the session has died, and running stages are saved first.

    {"slots": N}                                 lists at once: when ready, and as nodes come and go
    {"trouble": "...", "hint": "..."}            nothing can go on; the driver ends
    {"list": LIST, "node": "..."}                it began
    {"list": LIST, "waits": "..."}               why it has not begun yet
    {"list": LIST, "attempt": "...", ...}        a report of `icckd.run.ray_task`
    {"list": LIST, "over": CAUSE or "", "reason": "..."}   the last of a list
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal, NoReturn

import ray
from ray import exceptions as errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from icckd.journal.events import Cause
from icckd.resources.processes import answers
from icckd.run.ray_messages import CPU, END, GPU, MEMORY, SAVE, DriverJob, amounts, room
from icckd.run.ray_task import Mailbox, attempt_list

OBJECT_STORE = 80 << 20
"""Bytes of shared memory of a Ray that is started for a session; Ray takes no less than 75 MiB."""
LOOK_SECONDS = 2.0
"""How often the nodes are looked at."""
LOST_SECONDS = 9.0
"""A head node that says nothing for so long is gone."""
WAITS_AFTER = 3.0
"""How long a list may be without a node until it is said why."""
END_SECONDS = 3.0
SAVE_SECONDS = 600.0
"""How long stages of a session that died may take to be saved."""
MOST_TASKS = 100_000
SHARE_OF_CLASS = 0.0001
"""So much of the resource of a class of hardware a task takes: it says where, not how many."""
LARGEST_LINE = 1 << 28
LEFT = "its node left the Ray cluster"
NOBODY = ""
"""A name that no letter is for."""


@dataclass(slots=True, eq=False)
class _List:
    """A list of orders, and its task.

    Attributes:
        name: Its name.
        stream: What its task yields.
        since: When it was submitted.
        resource: What its node must have, of the hardware that it is to be computed on.
        node: Where it runs, once it has begun: Ray's identifier of the node.
        says: Why it waits, as was said.
        following: What passes on what its task says.
        looks_gone: Looks in a row at which Ray had no such node.
    """

    name: str
    stream: Any
    since: float
    resource: str
    node: str = ""
    says: str = ""
    following: "asyncio.Task[None] | None" = None
    looks_gone: int = 0


def main() -> None:
    """Connect, and serve until standard input ends."""
    out = answers()
    job = DriverJob(**json.loads(sys.stdin.buffer.readline()))
    os.chdir(job.task["state_folder"])  # Ray adds the current folder to where workers import from
    try:
        _connect(job)
    except Exception as error:  # whatever Ray raises: ConnectionError, RuntimeError, ValueError
        _say(out, {"trouble": _text(error)})
        return
    asyncio.run(_Driver(job, out).serve())
    ray.shutdown()


def _connect(job: DriverJob) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "icckd"}
    if job.address:
        ray.init(address=job.address, **quiet)
        return
    ray.init(
        address="local",
        num_cpus=job.cpus,
        num_gpus=None if job.needs.get(GPU) else 0,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE,
        _node_ip_address="127.0.0.1",  # nobody else reaches its ports
        **quiet,
    )


class _Driver:
    """Lists that were submitted, and what is told of them.

    Args:
        job: What the session wants.
        out: Takes the answers.
    """

    def __init__(self, job: DriverJob, out: IO[bytes]) -> None:
        self._job = job
        self._out = out
        self._lists: dict[str, _List] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._nodes: dict[str, dict[str, float]] = {}
        self._slots = -1
        self._mailbox = self._new_mailbox()
        self._attempt = ray.remote(num_returns="streaming", max_retries=0)(attempt_list)

    async def serve(self) -> None:
        """Do what the session says until it ends."""
        await self._look()
        self._refuse_what_never_fits()
        looking = [
            asyncio.create_task(each) for each in (self._keep_looking(), self._keep_mailbox())
        ]
        reader = asyncio.StreamReader(limit=LARGEST_LINE)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        ends = False
        while line := await reader.readline():
            told = json.loads(line)
            ends |= "end" in told
            self._obey(told)
        for each in self._lists.values():
            self._tell(each, END if ends else SAVE)
            if not each.node:
                self._withdraw(each)
        if self._following:
            await asyncio.wait(self._following, timeout=END_SECONDS if ends else SAVE_SECONDS)
        for task in looking:
            task.cancel()

    def _obey(self, told: Mapping[str, Any]) -> None:
        if "submit" in told:
            self._submit(told["submit"], told["orders"], told["memory"], told["resource"])
        elif each := self._lists.get(told.get("tell", "")):
            self._tell(each, told["letter"])
            if told["withdraws"]:
                self._withdraw(each)

    def _submit(self, name: str, orders: str, memory: float, resource: str) -> None:
        """Submit a task; what its stages took before is asked for as far as a node has it.

        Args:
            name: Of the list.
            orders: The list.
            memory: What its stages took before, in bytes.
            resource: What nodes of the hardware have that it is to be computed on; "" is any.
        """
        needs = self._job.needs
        options = {"num_cpus": needs[CPU], "num_gpus": needs.get(GPU, 0), "name": f"icckd {name}"}
        most = max((node.get(MEMORY, 0.0) for node in self._nodes.values()), default=memory)
        if memory := max(needs.get(MEMORY, 0.0), min(memory, most)):
            options["memory"] = int(memory)
        if resource:
            options["resources"] = {resource: SHARE_OF_CLASS}
        task = json.dumps({**self._job.task, "name": name})
        stream = self._attempt.options(**options).remote(task, orders, self._mailbox)
        self._lists[name] = each = _List(name, stream, time.monotonic(), resource)
        each.following = asyncio.create_task(self._follow(each))
        self._following.add(each.following)
        each.following.add_done_callback(self._following.discard)

    async def _follow(self, each: _List) -> None:
        """Pass on what a task says, and how it ended."""
        cause: Cause | Literal[""] = ""
        reason = ""
        try:
            async for said in each.stream:
                self._heard(each, json.loads(await said))
        except Exception as error:  # of Ray: how the task ended
            cause, reason = await self._why_over(each, error)
        self._over(each, cause, reason)

    def _over(self, each: _List, cause: Cause | Literal[""], reason: str) -> None:
        del self._lists[each.name]
        self._mailbox.forget.remote(each.name)
        self._say(list=each.name, over=cause, reason=reason)

    def _heard(self, each: _List, said: dict[str, Any]) -> None:
        if "node_id" in said:
            each.node = said["node_id"]
            self._say(list=each.name, node=said["node"])
        elif "trouble" in said:
            self._give_up(said["trouble"], said["hint"])
        else:
            self._say(list=each.name, **said)

    async def _why_over(self, each: _List, error: Exception) -> tuple[Cause | Literal[""], str]:
        """Return why a task ended, as a cause of icckd and in words."""
        if isinstance(error, errors.TaskCancelledError):
            return "", ""
        if isinstance(error, errors.OutOfMemoryError):
            return "out-of-memory", "out of memory: Ray ended the worker before its node ran out"
        if isinstance(error, errors.RayTaskError):
            self._give_up(
                f"a node cannot run icckd: {_last_line(error)}",
                "every node needs the same icckd[ray] in the Python that Ray was started with",
            )
        await self._look()
        if isinstance(error, errors.NodeDiedError) or (each.node and each.node not in self._nodes):
            return "preempted", LEFT
        return "killed", f"Ray's worker died ({type(error).__name__})"

    def _tell(self, each: _List, letter: str) -> None:
        self._mailbox.put.remote(each.name, letter)

    def _withdraw(self, each: _List) -> None:
        """Take a list back that has not begun; one that has is told by its letters."""
        if not each.node:
            ray.cancel(each.stream, recursive=False)

    def _new_mailbox(self) -> Any:
        """Return a mailbox on this node: it is there as long as the driver can be."""
        here = ray.get_runtime_context().get_node_id()
        where = NodeAffinitySchedulingStrategy(here, soft=False)
        options = {"num_cpus": 0, "max_concurrency": MOST_TASKS, "scheduling_strategy": where}
        return ray.remote(Mailbox).options(**options).remote()

    async def _keep_mailbox(self) -> None:
        """Have a new mailbox when this one dies: its tasks save and leave, and are tried again."""
        while True:
            try:
                await self._mailbox.after.remote(NOBODY, 0)
            except errors.RayError:
                self._mailbox = self._new_mailbox()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look()
            self._leave_silent_nodes()
            self._say_who_waits()

    def _leave_silent_nodes(self) -> None:
        """End the lists of nodes that Ray has given up.

        A node that fell silent has its connections open: they alone would tell after minutes.
        """
        for each in list(self._lists.values()):
            is_gone = bool(each.node) and each.node not in self._nodes
            each.looks_gone = each.looks_gone + 1 if is_gone else 0
            if each.looks_gone > 1 and each.following is not None:
                each.following.cancel()
                self._over(each, "preempted", LEFT)

    async def _look(self) -> None:
        """See which nodes there are, and tell how many lists they take; give up without a head."""
        try:
            found = await asyncio.wait_for(asyncio.to_thread(ray.nodes), LOST_SECONDS)
        except Exception as error:  # of Ray, or that time is over
            self._give_up(
                f"the head node of the Ray cluster does not answer any more ({_text(error)})",
                "what is finished is kept; when Ray is back, the same command resumes",
            )
        self._nodes = {node["NodeID"]: node["Resources"] for node in found if node["Alive"]}
        needs, job = self._job.needs, self._job
        slots = sum(room(node, needs) for node in self._nodes.values())
        slots = max(slots, job.nodes * room(job.node, needs) if job.nodes else 0)
        if slots != self._slots:
            self._slots = slots
            self._say(slots=slots)

    def _refuse_what_never_fits(self) -> None:
        if self._slots:
            return
        most = max(self._nodes.values(), key=lambda node: node.get(CPU, 0), default={})
        self._give_up(
            f"a stage needs {amounts(self._job.needs)}, and no node of the Ray cluster has that:"
            f" the largest of {len(self._nodes)} has {amounts(most)}",
            "add a node, or say under [ray] in config.toml what the autoscaler may add"
            " (docs/cluster.md)",
        )

    def _say_who_waits(self) -> None:
        now = time.monotonic()
        for each in self._lists.values():
            if each.node or now - each.since < WAITS_AFTER:
                continue
            wanted = {**self._job.needs, each.resource: SHARE_OF_CLASS if each.resource else 0}
            fits = any(room(node, wanted) for node in self._nodes.values())
            needs = amounts(self._job.needs)
            needs += f" and the resource {each.resource!r}" if each.resource else ""
            why = (
                f"waits until the Ray cluster has {needs} free"
                if fits
                else f"waits for a node with {needs}: the Ray cluster has none now"
            )
            if each.says != why:
                each.says = why
                self._say(list=each.name, waits=why)

    def _say(self, **said: Any) -> None:
        _say(self._out, said)

    def _give_up(self, trouble: str, hint: str) -> NoReturn:
        """Say why nothing can go on, and end at once: Ray may wait for what will not come."""
        self._say(trouble=trouble, hint=hint)
        os._exit(1)


def _say(out: IO[bytes], said: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the session is gone, as standard input will say
        out.write(json.dumps(said).encode() + b"\n")


def _text(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


if __name__ == "__main__":
    main()
