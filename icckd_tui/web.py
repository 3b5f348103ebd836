"""The monitor in a browser: read-only, behind a door, one process for each tab.

Any page that the user's browser shows can send requests to this machine, so that being asked from
here proves nothing. Three things are asked of whoever knocks (`Door`):

- The host that it names is this server. A page elsewhere whose name was pointed at this machine
  (DNS rebinding) names its own.
- The page that asks is this server's own, where the browser says which one asks (`Origin`).
- It holds the cookie. The browser that first opens the printed address gets it, in exchange for
  the address's token, which then opens nothing any more. The cookie is valid until the server ends.

`serve` is the entry point; `icckd_tui/web_tab.py` is a tab's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import html
import importlib.util
import ipaddress
import json
import re
import secrets
import signal
import socket
import string
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from icckd.errors import MachineError, UsageError
from icckd_tui.web_tab import Tab

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOPBACK = "127.0.0.1"  # not "localhost": another user's server may hold that on IPv6
TABS = 4
PAGE = Path(__file__).parent / "web_page"  # ours: the package's own asks another host for a font
_LONGEST_MESSAGE = 1 << 16  # bytes of one message of the browser
_WAIT_SECONDS = 2.0  # for the place of a tab that is being closed, as when it is loaded again
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'"
        " data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none';"
        " form-action 'none'"
    ),
}


def serve(study: str | None, *, host: str = LOOPBACK, port: int = 8000, tabs: int = TABS) -> None:
    """Serve the monitor, read-only, until interrupted.

    Args:
        study: The study's name; None for the newest.
        host: The address or name to listen on.
        port: The port to listen on.
        tabs: How many tabs may be open at a time.

    Raises:
        UsageError: The extra `web` is not installed, or `host` is no name or address.
        MachineError: The address cannot be listened on.
    """
    if any(importlib.util.find_spec(name) is None for name in ("aiohttp", "textual_serve")):
        raise UsageError(
            "the browser view needs the packages aiohttp and textual-serve",
            hint="pip install 'icckd[web]'",
        )
    listening = _listen(host, port)
    command = [sys.executable, "-m", "icckd.cli.main", "watch", "--read-only"]
    door = Door(host, port)
    print(
        f"icckd: {door.address}\n"
        "icckd: shows it, read-only, to the browser that opens this address first; Ctrl-C ends it",
        file=sys.stderr,
    )
    if not door.is_loopback:
        print(
            "icckd: it is not encrypted: whoever can listen in on the network can see the study and"
            f" take over the view; safer is `ssh -L {port}:{LOOPBACK}:{port}`",
            file=sys.stderr,
        )
    asyncio.run(_Server(door, [*command, *([study] if study else [])], tabs).run(listening))


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on one address, so that others are not served by accident."""
    try:
        found = socket.getaddrinfo(host or "?", port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"--host {host!r} is neither a name nor an address") from error
    family, *_, address = found[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        raise MachineError(
            f"cannot listen on {host}, port {port}: {error.strerror}", hint="choose another --port"
        ) from error
    return listening


class Door:
    """Decides who is let in.

    Attributes:
        is_loopback: Whether only this machine is served.
        address: What to open in a browser, once.
    """

    def __init__(self, host: str, port: int) -> None:
        self._cookie_name = f"icckd-{port}"
        self._cookie = secrets.token_urlsafe(32)
        self._token: str | None = secrets.token_urlsafe(32)
        self._names = {"localhost", host.lower()}
        address = _address(host)
        self.is_loopback = host == "localhost" or (address is not None and address.is_loopback)
        shown = host
        if not self.is_loopback:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
            if address is not None and address.is_unspecified:
                shown = socket.getfqdn()
        shown = f"[{shown}]" if ":" in shown else shown
        self.address = f"http://{shown}:{port}/?token={self._token}"

    def objection(self, request: web.Request) -> str:
        """Return why a request is refused whoever sent it, "" if it is not."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return "This server has another name."
        origins = request.headers.getall("Origin", [])
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return "Another page asked for this."
        if request.headers.get("Upgrade") is not None and not origins:
            return "The page that asks for this is not named."
        return ""

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header names this server, by whatever port it was forwarded.

        Nobody can point an address elsewhere, as one can a name: beyond loopback all will do.
        """
        try:
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
            if parts.netloc.lower() not in {*_spellings(name), *_spellings(name, parts.port)}:
                return False  # with a user's name, a path, or what else a browser never sends
        except ValueError:
            return False
        address = _address(name)
        if address is not None:
            return address.is_loopback or not self.is_loopback
        return name in self._names

    def knows(self, request: web.Request) -> bool:
        """Return whether a request holds the cookie."""
        return _equal(request.cookies.get(self._cookie_name, ""), self._cookie)

    def trade(self, token: str, response: web.StreamResponse) -> bool:
        """Give the cookie for the token, once; return whether it was given."""
        if self._token is None or not _equal(token, self._token):
            return False
        self._token = None
        response.set_cookie(
            self._cookie_name, self._cookie, httponly=True, samesite="Strict", path="/"
        )
        return True


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _spellings(name: str, port: int | None = None) -> set[str]:
    end = "" if port is None else f":{port}"
    return {f"[{name}]{end}" if ":" in name else f"{name}{end}"}


def _equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


class _Server:
    """Serves the page and its WebSocket to those whom the door lets in."""

    def __init__(self, door: Door, command: list[str], most_tabs: int) -> None:
        self._door = door
        self._command = command
        self._most_tabs = most_tabs
        self._tabs: set[Tab] = set()

    async def run(self, listening: socket.socket) -> None:
        """Serve until SIGINT or SIGTERM."""
        from aiohttp import web

        loop, over = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, over.set)

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = web.Application(middlewares=[guard])
        files = Path(str(importlib.util.find_spec("textual_serve").origin)).parent / "static"  # type: ignore[union-attr]
        app.router.add_get("/", self._page, allow_head=False)
        app.router.add_get("/ws", self._websocket, allow_head=False)
        app.router.add_static("/static", files)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.SockSite(runner, listening, shutdown_timeout=1.0).start()
            await over.wait()
        finally:
            await asyncio.gather(*(tab.end() for tab in self._tabs))
            await runner.cleanup()

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer whom the door lets in, refuse others; no answer may be framed or kept."""
        from aiohttp import web

        reason = self._door.objection(request)
        if not reason and request.path == "/" and "token" in request.query:
            response: web.StreamResponse = web.Response(status=303, headers={"Location": "/"})
            if not (
                self._door.knows(request) or self._door.trade(request.query["token"], response)
            ):
                response = _refusal("This address was opened already, or is not the printed one.")
        elif reason or not self._door.knows(request):
            response = _refusal(reason or "The browser has not opened the printed address.")
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=error.reason)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    async def _page(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        text = string.Template((PAGE / "app_index.html").read_text()).substitute(
            websocket=html.escape(f"ws://{request.headers['Host']}/ws"),
            font_size=min(max(_whole(request.query.get("fontsize"), 16), 8), 40),
        )
        return web.Response(text=text, content_type="text/html")

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        """Run a tab for as long as its browser is connected."""
        from aiohttp import web

        connection = web.WebSocketResponse(heartbeat=15.0, max_msg_size=_LONGEST_MESSAGE)
        await connection.prepare(request)
        tab = Tab(self._command)
        if not await self._place_for(tab):
            await connection.send_bytes(_no_place(self._most_tabs))
            await connection.close()
            return connection
        width, height = (_whole(request.query.get(name), 0) for name in ("width", "height"))
        try:
            await tab.start(width or 80, height or 24)
            shown = asyncio.create_task(_show(tab, connection))
            try:
                await _take(tab, connection)
            finally:
                shown.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await shown
        finally:
            await tab.end()
            self._tabs.discard(tab)
        return connection

    async def _place_for(self, tab: Tab) -> bool:
        """Take a place for a tab; return False where all stay taken."""
        for _ in range(int(_WAIT_SECONDS / 0.1)):
            if len(self._tabs) < self._most_tabs:
                self._tabs.add(tab)
                return True
            await asyncio.sleep(0.1)
        return False


def _refusal(reason: str) -> web.Response:
    from aiohttp import web

    text = string.Template((PAGE / "refused.html").read_text()).substitute(reason=reason)
    return web.Response(status=403, text=text, content_type="text/html")


def _no_place(most: int) -> bytes:
    lines = (
        f"{most} tabs are open, the most that are shown at a time, since each is a process.",
        "Close one and load this page again, or start the server with a larger --tabs.",
    )
    return "".join(f"\r\n  {line}\r\n" for line in lines).encode()


async def _show(tab: Tab, connection: web.WebSocketResponse) -> None:
    """Send what a tab draws until one of them leaves."""
    with contextlib.suppress(ConnectionError):
        async for picture in tab.pictures():
            await connection.send_bytes(picture)
        await connection.close()


async def _take(tab: Tab, connection: web.WebSocketResponse) -> None:
    """Give a tab the messages of its browser until one of them leaves; drop all else."""
    from aiohttp import WSMsgType

    async for message in connection:
        try:
            kind, *values = json.loads(message.data) if message.type is WSMsgType.TEXT else [""]
            value = values[0] if values else None
        except (ValueError, TypeError, RecursionError):
            continue
        if kind == "stdin" and isinstance(value, str):
            await tab.press(value)
        elif kind == "resize" and isinstance(value, dict):
            width, height = (_whole(value.get(name), 0) for name in ("width", "height"))
            if width and height:
                await tab.resize(width, height)
        elif kind in ("focus", "blur"):
            await tab.tell(kind)
        elif kind == "ping" and isinstance(value, str | int | float):
            await connection.send_json(["pong", value])


def _whole(value: object, default: int) -> int:
    """Return a whole number from a browser, at most six digits, else the default."""
    return int(str(value)) if re.fullmatch("[0-9]{1,6}", str(value), re.ASCII) else default
