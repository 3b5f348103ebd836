"""`python -m icckd.run.worker N`: attempts stages; writes journals and artifacts, and nothing else.

Standard input brings lists of orders, orders taken back, and the word that no more follow. When it
ends after that word, the current stage is finished; when it ends without, the session has died, and
the stage is saved at the end of its epoch. Descriptor N carries the answers (see
`icckd.run.messages`); what a stage prints goes to its attempt's output.log.

An error of the GPU stays with the process: every later call fails too. A worker whose GPU failed
closes the attempt's journal and ends, so that the rest of its list runs in a fresh process. One
that cannot use its GPU says `unusable` before it begins anything, and ends.
"""

import faulthandler
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from icckd.journal.artifacts import is_complete
from icckd.journal.events import AttemptClosed
from icckd.journal.fencing import newest_ordinal
from icckd.journal.folder import StateFolder
from icckd.journal.locks import lock_path, stage_lock
from icckd.resources.processes import answers, holders_text
from icckd.run.attempt import (
    Attempt,
    begin_engine,
    gpu_trouble,
    load_engine,
    own_gpus,
    own_hardware,
    refuse_hardware,
)
from icckd.run.channel import STOP, Channel, WorkerChannel
from icckd.run.messages import DEVICE_FAILED, Order
from icckd.run.pack import NEWER, send_superseded, work_pack
from icckd.run.task import run_task

if TYPE_CHECKING:
    from icckd.storage.attempts import SharedAttempt


def main() -> None:
    """Work until standard input ends."""
    serve(sys.stdin.buffer, answers())


def serve(lines: IO[bytes], out: IO[bytes]) -> None:
    """Work until the session's messages end; this process and its signals belong to it.

    Args:
        lines: Brings the messages of the session.
        out: Takes those of the worker, unbuffered.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: STOP.set())
    faulthandler.enable()
    channel = WorkerChannel(lines, out)
    for orders in channel.packs():
        order = orders[0]
        if not order.stage.is_task:
            begin_engine(tuple(order.plugins))
        own_gpus()
        if trouble := gpu_trouble(order):
            channel.send(order, "unusable", reason=trouble)
            _exit_device_failed()
        left = carry_out(orders, channel)
        if left == "saved":
            _die_of_sigterm()
        if left == "device failed":
            _exit_device_failed()


Left = Literal["", "saved", "device failed"]
"""Why the process that carried orders out should take no more."""


def carry_out(orders: Sequence[Order], channel: Channel) -> Left:
    """Carry out one order, or those of a pack; tell the session what became of each."""
    if orders[0].pack:
        return "saved" if work_pack(orders, channel) else ""
    return _work(orders[0], channel)


def _work(order: Order, channel: Channel) -> Left:
    """Carry out one order while no other process works on its stage."""
    folder = StateFolder(Path(order.state_folder))

    def is_unwanted() -> bool:
        return channel.is_closing() or channel.is_skipped(order)

    def waiting() -> None:
        channel.send(order, "stalled", reason=_who_holds(order, folder))

    with stage_lock(folder, order.stage.digest, waiting=waiting, give_up=is_unwanted) as held:
        if held is None or is_unwanted():
            channel.send(order, "skipped")
        elif not order.force and is_complete(folder, order.stage.digest):
            channel.send(order, "ended", state="complete", reason="trained by another worker")
        elif newest_ordinal(folder, order.stage.digest) > order.ordinal:
            channel.send(order, "skipped", reason=NEWER)
        elif not refuse_hardware(order, channel):
            shared = None
            if order.storage is not None:
                from icckd.run.sharing import join  # whoever shares nothing imports no storage

                if (shared := join(order, folder, channel, waits=True)) is None:
                    return ""
            channel.send(order, "started", hardware=own_hardware(order))
            closed = _attempt(order, folder, channel, held, shared)
            if closed.state == "cancelled":
                return "saved"
            return _send_end(order, closed, channel)
    return ""


def _attempt(
    order: Order,
    folder: StateFolder,
    channel: Channel,
    lock: int,
    shared: "SharedAttempt | None",
) -> AttemptClosed:
    """Attempt one stage; return the last line of its journal, which says how it ended.

    Args:
        order: What to attempt.
        folder: The state folder.
        channel: To the session.
        lock: Descriptor of the stage's lock, which is held.
        shared: Its dealings with storage.
    """
    with Attempt(order, folder, channel, shared=shared) as made, made.printing():
        try:
            made.prepare()
            if order.stage.is_task:
                run_task(order, folder, made.recorder, made.context, lock)
            else:
                load_engine().train_stage(order, folder, made.recorder, made.context)
        except Exception as error:
            return made.end(error)
        return made.end()


def _send_end(order: Order, closed: AttemptClosed, channel: Channel) -> Left:
    if closed.state == "superseded":
        send_superseded(order, channel)
        return ""
    if closed.failure is None:
        channel.send(order, "ended", state=closed.state)
        return ""
    cause = closed.failure.cause
    is_leaving = cause == "device" or bool(gpu_trouble(order))
    reason = closed.failure.message if cause == "device" else ""
    channel.send(
        order, "ended", state=closed.state, cause=cause, reason=reason, is_leaving=is_leaving
    )
    return "device failed" if is_leaving else ""


def _who_holds(order: Order, folder: StateFolder) -> str:
    """Return whom a stage waits for: a worker, or what a task of an earlier attempt left behind."""
    if order.stage.is_task and (who := holders_text(lock_path(folder, order.stage.digest))):
        return f"waits for processes of an earlier attempt to end: {who}"
    return "another worker is training this stage"


def _exit_device_failed() -> None:
    """End this process at once: CUDA's own clean-up may hang or abort at an orderly exit."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(DEVICE_FAILED)


def _die_of_sigterm() -> None:
    """End this process as SIGTERM would have; the session then has the stage tried again."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
