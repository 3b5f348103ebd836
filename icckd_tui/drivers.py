"""How keys and pictures travel: Textual's drivers, safe against what comes in and who leaves."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any

from textual import messages
from textual.drivers._byte_stream import ByteStream
from textual.drivers.linux_driver import LinuxDriver
from textual.drivers.web_driver import WebDriver
from textual.message import Message

from icckd_tui.input import ASK_BACKGROUND, InputQueue, KeyStream
from icckd_tui.terminal import HANGUP, within_largest

if TYPE_CHECKING:
    from textual.app import App

_READ_BYTES = 4096
_POLL_SECONDS = 0.1
_KEEP_TITLE, _GIVE_TITLE_BACK = "\x1b[22;0t", "\x1b[23;0t"  # xterm's stack of titles
_LEAVE_SECONDS = 2.0
"""How long an app whose browser is gone may take to leave by itself."""


class TerminalDriver(LinuxDriver):
    """The driver of a terminal."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        # Where a terminal tells no size, Textual and Rich assume different ones in turns for ever.
        self._size = self._size or self._get_terminal_size()
        self._input = InputQueue(app, asyncio.get_running_loop())
        self._has_alerted = False
        self._asks_background = os.environ.get("TERM", "").lower() != "linux"

    def start_application_mode(self) -> None:
        """Take the terminal over, and ask for its background; nobody waits for the answer."""
        super().start_application_mode()  # type: ignore[no-untyped-call]  # Textual's
        if self._asks_background:
            self.write(ASK_BACKGROUND)

    def run_input_thread(self) -> None:
        """Read keys until told to stop, or until the terminal is gone."""
        stream = KeyStream(awaits_background=self._asks_background)
        while not self.exit_event.is_set():
            if select.select([self.fileno], [], [], _POLL_SECONDS)[0]:
                try:
                    data = os.read(self.fileno, _READ_BYTES)
                except OSError:
                    return
                if not data:
                    return
                for message in stream.feed(data):
                    self.process_message(message)
            for message in stream.tick():
                self.process_message(message)

    def send_message(self, message: Message) -> None:
        """Have the app take a message when it has handled those before."""
        self._input.put(message)

    def alert(self, text: str) -> None:
        """Ring, and show a text as title and notification."""
        from icckd.report.alerts import terminal_sequence  # not for the first paint

        if not self._has_alerted:
            self._has_alerted = True
            self.write(_KEEP_TITLE)
        self.write(terminal_sequence(text))

    def stop_application_mode(self) -> None:
        """Leave the terminal as it was, with the title that it had."""
        if self._has_alerted:
            self.write(_GIVE_TITLE_BACK)
        super().stop_application_mode()

    def _get_terminal_size(self) -> tuple[int, int]:
        return within_largest(*super()._get_terminal_size())


class BrowserDriver(WebDriver):
    """The driver of a browser's tab, which ends with the server that started it.

    The server is the other end of standard input and output, whatever kills it.
    """

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        self._input = InputQueue(app, asyncio.get_running_loop())

    def run_input_thread(self) -> None:
        """Read keys until the server is gone, then end this process."""
        stream, packets = KeyStream(), ByteStream()
        for data in self._input_reader:
            for kind, content in packets.feed(data) if data else ():
                if kind != "D":
                    self._on_meta(kind, content)
                    continue
                for message in stream.feed(content):
                    self.process_message(message)
            for message in stream.tick():
                self.process_message(message)
        if not self.exit_event.is_set():
            threading.Thread(target=_end_soon, name="icckd-left", daemon=True).start()
            self.send_message(messages.ExitApp())

    def send_message(self, message: Message) -> None:
        """Have the app take a message when it has handled those before."""
        self._input.put(message)

    def write(self, data: str) -> None:
        """Write to the server; without one nobody looks any more."""
        try:
            super().write(data)
        except BrokenPipeError:
            os._exit(HANGUP)


def _end_soon() -> None:
    time.sleep(_LEAVE_SECONDS)
    os._exit(HANGUP)
