"""What an attempt has to do with storage that machines share, where that is configured.

Nothing here is imported by a worker whose orders name no storage.
"""

from icckd.journal.folder import StateFolder
from icckd.run.channel import Channel
from icckd.run.messages import Order
from icckd.storage.attempts import OVERTAKEN, SharedAttempt, Standing, Ticket
from icckd.storage.base import StorageError

ELSEWHERE = "trained on another machine"


def join(
    order: Order, folder: StateFolder, channel: Channel, *, waits: bool
) -> SharedAttempt | None:
    """Begin an attempt in storage; where it is not to begin, tell the session, and return None.

    Args:
        order: What to attempt; its stage's lock is held.
        folder: The state folder of this machine.
        channel: To the session.
        waits: Whether to wait for an attempt of another study.
    """
    assert order.storage is not None

    def gives_up() -> bool:
        return not waits or channel.is_closing() or channel.is_skipped(order)

    ticket = Ticket(
        stage=order.stage.digest,
        attempt=order.attempt,
        ordinal=order.ordinal,
        study=order.study,
        force=order.force,
    )
    shared = SharedAttempt(
        order.storage,
        ticket,
        folder,
        stalled=lambda why: channel.send(order, "stalled", reason=why),
        give_up=channel.should_save,
    )
    standing: Standing
    try:
        standing = shared.begin(gives_up)
    except StorageError:  # it was not to be waited for any longer
        standing = "given up"
    if standing == "begin":
        return shared
    if standing == "published":
        channel.send(order, "ended", state="complete", reason=ELSEWHERE)
    else:
        reason = OVERTAKEN if standing == "overtaken" else ""
        channel.send(order, "skipped", by_itself=not waits, reason=reason)
    return None
