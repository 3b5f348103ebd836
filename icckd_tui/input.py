"""What a terminal sends, whatever it is, as messages that the app can keep up with.

`KeyStream` turns bytes into messages; `InputQueue` hands them to the app one at a time. Ctrl-q and
ctrl-c overtake everything, in a paste, too: terminals take such characters out of what they paste.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from textual import events, messages
from textual._xterm_parser import (
    BRACKETED_PASTE_END,
    BRACKETED_PASTE_START,
    XTermParser,
)
from textual.app import ScreenStackError
from textual.message import Message
from textual.message_pump import MessagePump

from icckd_tui.terminal import within_largest

if TYPE_CHECKING:
    from textual.app import App

LONGEST_PASTE = 1 << 16  # characters
PASTE_SECONDS = 0.5
"""A paste that brings nothing for so long is over: its end was lost."""

_LEAVE = {"\x03": "ctrl+c", "\x11": "ctrl+q"}
_LEAVES = re.compile("([\x03\x11])")
# The same by the keyboard protocol of kitty: the key, and Ctrl with or without a lock.
_LEAVES_IN_PASTE = re.compile("\x1b\\[(99|113)(?::\\d*)*;(?:5|69|133|197)[:;\\d]*u")
_KITTY = {"99": "ctrl+c", "113": "ctrl+q"}


ASK_BACKGROUND = "\x1b]11;?\x1b\\"
"""Asks a terminal for its background (OSC 11); one that does not know answers nothing."""
ANSWER_SECONDS = 1.0
"""An answer that has not come by then is not waited for any more, but still read."""
_BACKGROUND = re.compile(
    "\x1b\\]11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})[^\x07\x1b]{0,8}"
    "(?:\x07|\x1b\\\\)"
)
_BEGUN = re.compile("\x1b(?:\\](?:1(?:1[^\x07\x1b]{0,40}\x1b?)?)?)?$")  # the same, not complete


class TerminalBackground(Message):
    """The terminal told its background."""

    def __init__(self, is_dark: bool) -> None:
        super().__init__()
        self.is_dark = is_dark


def _is_dark(color: tuple[str, ...]) -> bool:
    """Return whether white is easier to read on a color than black, by its luminance (BT.709)."""
    shares = [int(part, 16) / (16 ** len(part) - 1) for part in color]
    light = sum(weight * share for weight, share in zip(_LUMINANCE, shares, strict=True))
    return bool(light < 0.5)


_ESCAPE_SECONDS = 0.1
_LUMINANCE = (0.2126, 0.7152, 0.0722)


class KeyStream:
    """Reads what a terminal sends.

    What is not UTF-8 and sequences that cannot be read are dropped. A paste is cut at
    `LONGEST_PASTE`, and over when nothing came for `PASTE_SECONDS`. An answer about the background
    never becomes keys.
    """

    def __init__(self, *, awaits_background: bool = False) -> None:
        self._answer_until = time.monotonic() + (ANSWER_SECONDS if awaits_background else 0.0)
        self._awaits_background = awaits_background
        self._begun_at = 0.0
        self._begun = ""  # what may be the beginning of that answer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parser = XTermParser()
        self._tail = ""  # what may be the beginning of a paste's marker
        self._paste: str | None = None
        self._pasted_at = 0.0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that these bytes complete."""
        text = self._decoder.decode(data).replace("\N{REPLACEMENT CHARACTER}", "")
        if self._awaits_background and self._paste is None:
            text = yield from self._read_answer(text)
        for piece in _LEAVES.split(text):
            if piece in _LEAVE:
                self._parser, self._tail, self._paste = XTermParser(), "", None
                yield events.Key(_LEAVE[piece], piece)
            else:
                yield from self._read(piece)

    def tick(self) -> Iterator[Message]:
        """Yield what is complete since nothing followed; to be called every tenth of a second."""
        if self._paste is not None and time.monotonic() - self._pasted_at > PASTE_SECONDS:
            yield from self._end_paste()
        since = time.monotonic() - self._begun_at
        if self._begun == "\x1b" and since > _ESCAPE_SECONDS:  # a key of its own after all
            self._begun = ""
            yield from self._read("\x1b")
        elif self._begun and since > PASTE_SECONDS:  # its end was lost
            self._begun = ""
        yield from self._guarded(self._parser.tick)

    def _read_answer(self, text: str) -> Generator[Message, None, str]:
        """Take an answer about the background out of a text; return the rest."""
        text, self._begun = self._begun + text, ""
        while found := _BACKGROUND.search(text):
            yield TerminalBackground(_is_dark(found.groups()))
            text = text[: found.start()] + text[found.end() :]
        begun = _BEGUN.search(text)
        is_awaited = time.monotonic() < self._answer_until
        if begun is not None and (is_awaited or len(begun.group()) > 2):
            self._begun, self._begun_at = begun.group(), time.monotonic()
            return text[: begun.start()]
        return text

    def _read(self, text: str) -> Iterator[Message]:
        while text:
            if self._paste is not None:
                text = yield from self._read_paste(text)
                continue
            seen = self._tail + text
            at = seen.find(BRACKETED_PASTE_START)
            cut = len(text) if at < 0 else at + len(BRACKETED_PASTE_START) - len(self._tail)
            piece, text = text[:cut], text[cut:]
            for character in piece:
                yield from self._guarded(lambda c=character: self._parser.feed(c))
            self._tail = (self._tail + piece)[1 - len(BRACKETED_PASTE_START) :]
            if at >= 0:
                for character in BRACKETED_PASTE_END:  # the parser need not know what is pasted
                    yield from self._guarded(lambda c=character: self._parser.feed(c))
                self._tail, self._paste = "", ""

    def _read_paste(self, text: str) -> Generator[Message, None, str]:
        """Take in a part of a paste; return what follows its end."""
        assert self._paste is not None
        self._pasted_at = time.monotonic()
        pasted, end, rest = (self._paste + text).partition(BRACKETED_PASTE_END)
        if leave := _LEAVES_IN_PASTE.search(pasted):
            self._paste = None
            yield events.Key(_KITTY[leave[1]], None)
            return ""
        if end:
            self._paste = pasted
            yield from self._end_paste()
            return rest
        # What is beyond the limit goes, but for the beginning of what ends the paste.
        self._paste = pasted[:LONGEST_PASTE] + pasted[LONGEST_PASTE:][-32:]
        return ""

    def _end_paste(self) -> Iterator[Message]:
        pasted, self._paste = self._paste or "", None
        yield events.Paste(pasted[:LONGEST_PASTE].replace("\x00", ""))

    def _guarded(self, read: Any) -> Iterator[Message]:
        """Yield what the parser makes of it; start another parser where that one breaks."""
        try:
            for message in read():
                if not (isinstance(message, events.Paste) and not message.text):
                    yield message
        except Exception:
            self._parser = XTermParser()


MOST_WAITING = 1000
_SETTLE_SECONDS = 2.0
_GLANCE_SECONDS = 0.02
STUCK_SECONDS = 3.0
"""An app that has not taken ctrl-q for so long waits for its output, and is ended by a signal."""


class InputQueue:
    """Messages from the thread that reads, handed to the app when it has handled those before.

    So a key acts on what the key before it brought about, and no flood piles up in the event loop.
    What is too much is dropped, the newest first.
    """

    def __init__(self, app: App[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: deque[Message] = deque()
        self._is_delivering = False
        self._task: asyncio.Task[None] | None = None

    def put(self, message: Message) -> None:
        """Add a message, from any thread."""
        if isinstance(message, events.Resize):
            message = events.Resize.from_dimensions(within_largest(*message.size), None)
        with self._lock:
            if isinstance(message, messages.ExitApp) or _leaves(message):
                self._waiting.clear()
                watch = threading.Timer(STUCK_SECONDS, self._end_if_stuck, (message,))
                watch.daemon = True
                watch.start()
            elif self._waiting and _replaces(message, self._waiting[-1]):
                self._waiting.pop()
            elif len(self._waiting) >= MOST_WAITING:
                return
            self._waiting.append(message)
            start, self._is_delivering = not self._is_delivering, True
        if start:
            with contextlib.suppress(RuntimeError):  # the app has ended
                self._loop.call_soon_threadsafe(self._start)

    def _end_if_stuck(self, message: Message) -> None:
        with self._lock:
            is_stuck = any(message is waiting for waiting in self._waiting)
        if is_stuck:
            os.kill(os.getpid(), signal.SIGTERM)  # see `SignalExit`

    def _start(self) -> None:
        self._task = self._loop.create_task(self._deliver())

    async def _deliver(self) -> None:
        while (message := self._take()) is not None:
            await self._app._post_message(message)
            await self._settled()

    def _take(self) -> Message | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._is_delivering = False
            return None

    async def _settled(self) -> None:
        """Wait until what was delivered is handled by all it passes, a new screen included."""
        end = time.monotonic() + _SETTLE_SECONDS
        handlers: list[MessagePump] = []
        while handlers != (handlers := _handlers(self._app)):
            for handler in handlers:
                handled = asyncio.Event()
                while not handled.is_set() and handler.call_later(handled.set):  # else it closed
                    if time.monotonic() >= end or self._is_ending():
                        return
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(handled.wait(), _GLANCE_SECONDS)

    def _is_ending(self) -> bool:
        with self._lock:
            return any(_leaves(waiting) for waiting in self._waiting)


def _leaves(message: Message) -> bool:
    return isinstance(message, events.Key) and message.key in _LEAVE.values()


def _replaces(message: Message, older: Message) -> bool:
    """Return whether only the newer of two messages counts."""
    return type(message) is type(older) and isinstance(message, events.Resize | events.MouseMove)


def _handlers(app: App[Any]) -> list[MessagePump]:
    """Return what a key passes, in order: the app, the focus and all around it, the app again."""
    with contextlib.suppress(ScreenStackError):
        innermost = app.focused or app.screen
        return [app, *innermost.ancestors_with_self]
    return [app]
