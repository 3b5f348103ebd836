"""A browser's tab: a process of the monitor, and the packets that travel to it and from it.

A packet is a letter, four bytes of length, and that many bytes. To the process, `D` holds keys and
`M` JSON such as a new size; from it, `D` holds what a terminal would get. Others, by which Textual
offers files and opens pages, are dropped: the view is for looking.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

from icckd_tui.terminal import IN_BROWSER, within_largest

_READY = b"__GANGLION__\n"  # what Textual's driver writes before its first packet
_LEAVE_SECONDS = 2.0
_STUCK_SECONDS = 10.0


class Tab:
    """The process of one tab, by the command that starts the monitor."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: Process | None = None

    async def start(self, width: int, height: int) -> None:
        """Start the process with a terminal of so many columns and rows."""
        width, height = within_largest(width, height)
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # Ctrl-C is for the server, which then ends its tabs
            env={
                **os.environ,
                IN_BROWSER: "1",
                "TEXTUAL_COLOR_SYSTEM": "truecolor",
                "ICCKD_GLYPHS": "braille",
                "COLUMNS": str(width),
                "ROWS": str(height),
            },
        )

    async def pictures(self) -> AsyncIterator[bytes]:
        """Yield what the process draws until it ends."""
        assert self._process is not None
        assert self._process.stdout is not None
        source = self._process.stdout
        if await source.readline() != _READY:
            return
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await source.readexactly(5)
                content = await source.readexactly(int.from_bytes(head[1:], "big"))
                if head[:1] == b"D":
                    yield content

    async def press(self, keys: str) -> None:
        """Send keys."""
        await self._send(b"D", keys.encode("utf-8", "replace"))

    async def resize(self, width: int, height: int) -> None:
        """Tell of a new size in columns and rows."""
        width, height = within_largest(width, height)
        await self._send(b"M", _json(type="resize", width=width, height=height))

    async def tell(self, kind: str) -> None:
        """Tell of something without more to it: "focus", "blur" or "quit"."""
        await self._send(b"M", _json(type=kind))

    async def _send(self, kind: bytes, content: bytes) -> None:
        """Send a packet, and wait while the process is behind; kill one that takes nothing."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError, RuntimeError):  # it has left
            self._process.stdin.write(kind + len(content).to_bytes(4, "big") + content)
            try:
                async with asyncio.timeout(_STUCK_SECONDS):
                    await self._process.stdin.drain()
            except TimeoutError:
                self._kill()

    async def end(self) -> None:
        """Have the process leave; kill it if it does not."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self.tell("quit")
                await process.wait()
        except TimeoutError:
            self._kill()
            await process.wait()

    def _kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


def _json(**values: object) -> bytes:
    return json.dumps(values).encode()
