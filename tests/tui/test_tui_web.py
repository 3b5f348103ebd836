"""The monitor in a real headless browser, where one is installed."""

import asyncio
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icckd_tui.web import PAGE
from tests.store.conftest import lab as lab
from tests.store.conftest import planned

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
STARTED = "-first-byte"  # the page's class once the program has written to its terminal


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}")


class Page:
    """A page, asked through the browser's debugging port."""

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


async def look(url, debugging):
    """Return title, class and picture of the page, and the hosts that it asked."""
    import aiohttp

    base = f"http://localhost:{debugging}"
    async with aiohttp.ClientSession() as session:
        tabs = await (await session.get(f"{base}/json")).json()
        tab = next(tab for tab in tabs if tab["type"] == "page")
        async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            await page.ask("Network.enable")
            await page.ask("Page.navigate", url=url)
            for _ in range(200):
                await asyncio.sleep(0.1)
                if STARTED in (await page.value("document.body && document.body.className") or ""):
                    break
            await asyncio.sleep(3.0)
            title = await page.value("document.title")
            marks = await page.value("document.body.className")
            picture = await page.ask("Page.captureScreenshot")
    return title, marks, base64.b64decode(picture["data"]), page.hosts


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_on_this_machine_sees_the_study_and_asks_no_other_host(lab, tmp_path):
    pytest.importorskip("textual_serve")
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    port, debugging = free_port(), free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "icckd.cli.main", "watch", "--web", "--port", str(port)],
        env={**os.environ, "ICCKD_HOME": str(lab.folder.root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    browser = subprocess.Popen(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1400,800", f"--remote-debugging-port={debugging}", "about:blank",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(port)
        wait_for(debugging)
        url = f"http://localhost:{port}"
        title, marks, picture, hosts = asyncio.run(look(url, debugging))
    finally:
        for process in (browser, server):
            process.terminate()
            process.wait(20)
    assert title == "icckd"
    assert STARTED in marks
    assert hosts == {"localhost"}
    kept = os.environ.get("ICCKD_WEB_PICTURE")
    if kept:
        Path(kept).write_bytes(picture)
    assert len(picture) > 20_000  # a page of text, not an empty one


def test_our_page_names_no_other_host():
    text = (PAGE / "app_index.html").read_text()

    assert "http://" not in text
    assert "https://" not in text
