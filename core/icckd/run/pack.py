"""A pack of stages in a worker: each an attempt of its own, all trained as one model.

What ends a member by itself is its own: its loss is not finite, it was cancelled, its teacher
cannot be read. What ends the pack as a whole counts against none of its members: the session has
them tried again in smaller packs, until what is at fault is alone (`icckd.run.schedule`).
"""

import contextlib
import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from icckd.journal.artifacts import is_complete
from icckd.journal.events import AttemptClosed
from icckd.journal.fencing import newest_ordinal
from icckd.journal.folder import StateFolder
from icckd.journal.locks import stage_lock
from icckd.run.attempt import Attempt, load_engine, own_hardware, refuse_hardware
from icckd.run.channel import Channel
from icckd.run.messages import Order

if TYPE_CHECKING:
    from icckd.storage.attempts import SharedAttempt

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT, _GROWTH, _LARGEST = 2**31 - 1, 64 << 20, 1 << 30

NEWER = "a newer order of this stage was given"


class _Member:
    """One order of a pack: its lock, and its attempt once it has begun."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.held = contextlib.ExitStack()
        self.shared: SharedAttempt | None = None
        self.attempt: Attempt | None = None
        self.closed: AttemptClosed | None = None


def work_pack(orders: Sequence[Order], channel: Channel) -> bool:
    """Carry out the orders of a pack; tell what became of each.

    A stage that another process works on is not waited for: it is given back, to be waited for by
    itself.

    Returns:
        Whether a member was saved and left, as this process was asked to.
    """
    keep_memory()
    folder = StateFolder(Path(orders[0].state_folder))
    with contextlib.ExitStack() as stack:
        members = [_Member(order) for order in orders]
        for member in members:
            stack.enter_context(member.held)
        begun = [member for member in members if _begins(member, folder, channel)]
        for member in begun:
            channel.send(member.order, "started", hardware=own_hardware(member.order))
            member.attempt = member.held.enter_context(
                Attempt(
                    member.order,
                    folder,
                    channel,
                    shared=member.shared,
                    members=len(begun),
                    shares=None if member is begun[0] else begun[0].attempt,
                )
            )
        _train(begun, folder, channel)
        return any(m.closed is not None and m.closed.state == "cancelled" for m in begun)


def _begins(member: _Member, folder: StateFolder, channel: Channel) -> bool:
    """Take the lock of a stage; return whether it is to be attempted. If not, tell the session."""
    order = member.order
    lock = member.held.enter_context(
        stage_lock(folder, order.stage.digest, waiting=lambda: None, give_up=lambda: True)
    )
    if channel.is_closing() or channel.is_skipped(order):
        channel.send(order, "skipped")
    elif lock is None:
        channel.send(order, "skipped", by_itself=True, reason="another worker is training it")
    elif not order.force and is_complete(folder, order.stage.digest):
        channel.send(order, "ended", state="complete", reason="trained by another worker")
    elif newest_ordinal(folder, order.stage.digest) > order.ordinal:
        channel.send(order, "skipped", reason=NEWER)
    elif not refuse_hardware(order, channel) and _begins_in_storage(member, folder, channel):
        return True
    member.held.close()
    return False


def _begins_in_storage(member: _Member, folder: StateFolder, channel: Channel) -> bool:
    """Begin where storage is shared, too; return whether the stage is to be attempted."""
    if member.order.storage is None:
        return True
    from icckd.run.sharing import join  # whoever shares nothing imports no storage

    member.shared = join(member.order, folder, channel, waits=False)
    return member.shared is not None


def _train(members: Sequence[_Member], folder: StateFolder, channel: Channel) -> None:
    """Train members that have begun; end those that are left when the pack as a whole fails."""

    def ended(number: int, error: Exception | None, mates: int = 0) -> None:
        member = members[number]
        assert member.attempt is not None
        member.closed = member.attempt.end(error)
        member.held.close()
        _tell(member.order, member.closed, channel, mates)

    prepared: dict[int, Attempt] = {}
    for number, member in enumerate(members):
        assert member.attempt is not None
        try:
            member.attempt.prepare()
        except Exception as error:
            ended(number, error)
        else:
            prepared[number] = member.attempt
    if not prepared:
        return
    with next(iter(prepared.values())).printing():
        try:
            load_engine().train_pack(prepared, folder, ended)
        except Exception as error:
            left = [number for number in prepared if members[number].closed is None]
            for number in left:
                ended(number, error, len(left) - 1)


def _tell(order: Order, closed: AttemptClosed, channel: Channel, mates: int) -> None:
    if channel.is_skipped(order):
        channel.send(order, "skipped")
    elif closed.state == "superseded":
        send_superseded(order, channel)
    elif closed.failure is not None:
        cause, why = closed.failure.cause, closed.failure.message if mates else ""
        channel.send(order, "ended", state=closed.state, cause=cause, reason=why, mates=mates)
    elif closed.state == "complete":
        channel.send(order, "ended", state=closed.state)


def send_superseded(order: Order, channel: Channel) -> None:
    """Tell of an attempt that does not count: its stage is complete, or was ordered anew."""
    if is_complete(StateFolder(Path(order.state_folder)), order.stage.digest):
        channel.send(order, "ended", state="complete", reason="another attempt completed it")
    else:
        channel.send(order, "skipped", reason=NEWER)


@functools.cache
def keep_memory() -> None:
    """Have the C library keep what is freed: a pack frees and takes megabytes at every step.

    By default glibc gives such blocks back, and the kernel clears them anew each time, which costs
    as much as packing gains. The process then holds the most that it ever took, so that its memory
    tells nothing of a stage that it trains later. Elsewhere than with glibc nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_TOP_PAD, _GROWTH)
