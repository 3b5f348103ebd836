"""Wait until an app has done what a key or message asked for.

Textual's own `wait_for_idle` waits until the whole process rests for a fiftieth of a second, or for
a second where it never does; it sees neither messages nor readings. A key costs it a tenth of a
second or more, and on a busy machine it returns too early.
"""

import asyncio
import time

from textual._context import active_app
from textual.app import App

TURN_SECONDS = 0.001
TURNS = 4
"""So often in a row nothing must be left to do: a handler may be waiting for something."""


async def settled(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """Wait until no message, layout, drawing or reading is due, at most `max_sleep` seconds."""
    app, end, quiet = active_app.get(), time.monotonic() + max_sleep, 0
    await asyncio.sleep(min_sleep)
    while quiet < TURNS and time.monotonic() < end:
        await asyncio.sleep(TURN_SECONDS)
        quiet = 0 if is_busy(app) else quiet + 1


def is_busy(app: App) -> bool:
    if app._exit:  # it is about to end: what it still draws nobody sees
        return False
    pumps = (app, *app._registry)
    if any(pump._message_queue.qsize() or pump._next_callbacks for pump in pumps if pump._running):
        return True
    if not app.screen_stack:  # the app has ended
        return False
    screen = app.screen
    due = (
        screen._layout_required, screen._repaint_required, screen._recompose_required,
        screen._scroll_required, screen._dirty_widgets, screen._callbacks,
    )  # fmt: skip
    return any(due) or is_reading(app)


def is_reading(app: App) -> bool:
    """Whether the monitor shows less than what it has asked its feed for."""
    state = getattr(app, "state", None)
    frame = getattr(state, "frame", None)
    return frame is not None and frame.request != state.feed.request
