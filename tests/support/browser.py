"""A headless Chromium, asked through its debugging port; and `icckd watch --web` for it."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import psutil
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="NO BROWSER: install Chromium to test the web view in a real one"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}")


class WebServer:
    """`icckd watch --web` as a process, with the address that it printed."""

    def __init__(self, process, port, lines):
        self.process, self.port, self.lines = process, port, lines
        self.address = lines[0].split()[1]

    @property
    def base(self):
        return self.address.partition("/?")[0]

    @property
    def tabs(self):
        """The processes that the server has started."""
        return psutil.Process(self.process.pid).children()


@contextmanager
def web_server(state, *arguments, folder=None):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "icckd.cli.main", "watch", "--web", f"--port={port}", *arguments],
        env={**os.environ, "ICCKD_HOME": str(state)}, cwd=folder, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        lines = [process.stderr.readline(), process.stderr.readline()]
        drain = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
        drain.start()
        wait_for(port)
        yield WebServer(process, port, lines)
    finally:
        process.terminate()
        process.wait(20)
        drain.join(5)
        process.stderr.close()


class Page:
    """A page of the browser."""

    def __init__(self, socket):
        self.socket, self.number, self.hosts = socket, 0, set()

    async def ask(self, method, **params):
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": params})
        while True:
            found = json.loads((await self.socket.receive()).data)
            if found.get("method") == "Network.requestWillBeSent":
                self.hosts.add(found["params"]["request"]["url"].split("/")[2].split(":")[0])
            if found.get("id") == self.number:
                return found["result"]

    async def value(self, script):
        return (await self.ask("Runtime.evaluate", expression=script))["result"].get("value")

    async def go(self, url):
        await self.ask("Page.navigate", url=url)

    async def until(self, script, seconds=30.0):
        """Wait until a script gives something true, and return that."""
        end = time.monotonic() + seconds
        while not (found := await self.value(script)):
            assert time.monotonic() < end, await self.value("document.documentElement.outerHTML")
            await asyncio.sleep(0.1)
        return found


def in_browser(profile, visit, *arguments):
    """Run a coroutine function on a page of a new browser; return what it returns."""
    import aiohttp

    debugging = free_port()
    browser = subprocess.Popen(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={profile}",
            "--window-size=1400,800", f"--remote-debugging-port={debugging}", *arguments,
            "about:blank",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    async def run():
        async with aiohttp.ClientSession() as session:
            tabs = await (await session.get(f"http://127.0.0.1:{debugging}/json")).json()
            tab = next(tab for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                await page.ask("Network.enable")
                return await visit(page)

    try:
        wait_for(debugging)
        return asyncio.run(run())
    finally:
        browser.terminate()
        browser.wait(20)
