"""The view in a browser: who is let in, what a tab may do, and when it ends."""

import asyncio
import base64
import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

aiohttp = pytest.importorskip("aiohttp")

from icckd_tui.terminal import LARGEST  # noqa: E402
from icckd_tui.web import PAGE  # noqa: E402
from tests.support.browser import in_browser, needs_browser, web_server  # noqa: E402
from tests.support.lab import Lab, planned  # noqa: E402
from tests.support.terminal import ESCAPES  # noqa: E402

STARTED = "document.body && document.body.classList.contains('-first-byte')"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A state folder with a small finished study."""
    lab = Lab(tmp_path_factory.mktemp("web") / "state")
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    return lab.folder.root


class Visitor:
    """A client without a browser, which sends whatever headers it is told to."""

    def __init__(self, session, server):
        self.session, self.server = session, server

    async def status(self, path="/", **headers):
        async with self.session.get(
            f"http://127.0.0.1:{self.server.port}{path}", headers=headers, allow_redirects=False
        ) as response:
            return response.status

    async def log_in(self):
        """Open the printed address; return the response to that."""
        async with self.session.get(self.server.address, allow_redirects=False) as response:
            self.cookie = response.headers["Set-Cookie"].partition(";")[0]
            return response

    @property
    def ours(self):
        """The headers that our own page sends."""
        return {"Cookie": self.cookie, "Origin": self.server.base}

    def connect(self, query="", **headers):
        return self.session.ws_connect(
            f"http://127.0.0.1:{self.server.port}/ws{query}", headers={**self.ours, **headers}
        )

    async def refused(self, **headers):
        """Whether the WebSocket is refused with these headers; None leaves a usual one out."""
        chosen = {name: value for name, value in {**self.ours, **headers}.items() if value}
        try:
            async with self.session.ws_connect(
                f"http://127.0.0.1:{self.server.port}/ws", headers=chosen
            ):
                return False
        except aiohttp.WSServerHandshakeError as error:
            return error.status == 403


def visit(server, scenario):
    async def run():
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            await scenario(Visitor(session, server))

    asyncio.run(run())


async def shows(connection, *words):
    """Read until these words were drawn; return all that came."""
    came = b""
    end = time.monotonic() + 30
    while not all(word.encode() in ESCAPES.sub(b"", came) for word in words):
        try:
            message = await connection.receive(timeout=max(0.01, end - time.monotonic()))
        except TimeoutError:
            raise AssertionError(ESCAPES.sub(b"", came)[-3000:].decode()) from None
        assert message.type is aiohttp.WSMsgType.BINARY, (message, came[-3000:])
        came += message.data
    return came


def test_the_printed_address_opens_once_and_gives_a_cookie_that_scripts_and_sites_cannot_use(state):
    async def scenario(visitor):
        assert await visitor.status() == 403
        assert await visitor.status("/static/js/textual.js") == 403
        assert await visitor.status("/?token=" + "x" * 43) == 403

        response = await visitor.log_in()
        assert response.status == 303
        assert response.headers["Location"] == "/"
        flags = response.headers["Set-Cookie"].split("; ")[1:]
        assert {"HttpOnly", "SameSite=Strict"} <= set(flags)
        assert not [flag for flag in flags if flag.startswith(("Domain", "Expires", "Max-Age"))]

        assert await visitor.status("/?token=" + server.address.partition("=")[2]) == 403
        assert await visitor.status(Cookie=visitor.cookie) == 200
        assert await visitor.status("/static/js/textual.js", Cookie=visitor.cookie) == 200
        assert await visitor.status("/download/x", Cookie=visitor.cookie) == 404
        assert await visitor.status("/static/", Cookie=visitor.cookie) in (403, 404)
        assert await visitor.status(Cookie=visitor.cookie[:-1]) == 403

    with web_server(state) as server:
        visit(server, scenario)
    assert "Traceback" not in "".join(server.lines)


def test_no_other_page_and_no_other_name_of_this_machine_gets_in_even_with_the_cookie(state):
    async def scenario(visitor):
        token = server.address.partition("?")[2]
        for name in ("evil.test", f"evil.test:{server.port}", "127.0.0.1@evil.test", ""):
            assert await visitor.status(f"/?{token}", Host=name) == 403, name
        for origin in ("http://evil.test", "null", f"https://127.0.0.1:{server.port}"):
            assert await visitor.status(f"/?{token}", Origin=origin) == 403, origin
        await visitor.log_in()  # none of them used up the token
        assert await visitor.status(Cookie=visitor.cookie, Host="localhost:9000") == 200
        assert await visitor.status(Cookie=visitor.cookie, Host="192.0.2.1") == 403

        assert await visitor.refused(Cookie=None)
        assert await visitor.refused(Origin=None)
        assert await visitor.refused(Origin="http://127.0.0.1:1")
        assert await visitor.refused(Origin=f"http://localhost:{server.port}")
        assert await visitor.refused(Origin="http://evil.test", Host="evil.test")
        assert server.tabs == []

    with web_server(state) as server:
        visit(server, scenario)


@pytest.mark.slow
def test_beyond_this_machine_only_when_asked_and_then_with_a_warning(state):
    async def scenario(visitor):
        token = server.address.partition("?")[2]
        assert await visitor.status(f"/?{token}", Host="evil.test") == 403
        assert await visitor.status(f"/?{token}", Host="192.0.2.1") == 303

    with web_server(state, "--host=0.0.0.0") as server:
        visit(server, scenario)
        time.sleep(0.1)
    assert "not encrypted" in "".join(server.lines)
    with web_server(state) as server:
        assert server.base == f"http://127.0.0.1:{server.port}"
        found = psutil.Process(server.process.pid).net_connections()
        assert {each.laddr.ip for each in found} == {"127.0.0.1"}
        taken = subprocess.run(
            [sys.executable, "-m", "icckd.cli.main", "watch", "--web", f"--port={server.port}"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert taken.returncode == 4
    assert taken.stderr.startswith(f"icckd: cannot listen on 127.0.0.1, port {server.port}: Addr")


@pytest.mark.slow
def test_a_tab_writes_no_file_and_neither_sizes_nor_nonsense_cost_much(state, tmp_path):
    async def scenario(visitor):
        await visitor.log_in()
        async with visitor.connect("?width=20000&height=20000") as connection:
            await shows(connection, "icc-ablations", "no-margin")
            for text in (
                "{",
                "[]",
                "7",
                '["stdin"]',
                '["stdin", 7]',
                '["resize", {"width": -1}]',
                '["resize", {"width": 1e9, "height": {}}]',
                '[["stdin"], "q"]',
                "[" * 900,
            ):
                await connection.send_str(text)  # fmt: skip
            await connection.send_bytes(b"\xff\xfe")
            await connection.send_json(["resize", {"width": 20000, "height": 20000}])
            await connection.send_json(["stdin", "\x1b[48;20000;20000;9;9t"])
            await connection.send_json(["stdin", "e"])
            drawn = await shows(connection, "writes no files")
            rows = [int(row) for row in re.findall(rb"\x1b\[(\d+);\d+H", drawn)]
            assert max(rows, default=0) <= LARGEST[1]
            (tab,) = server.tabs
            assert tab.memory_info().rss < 400e6

            await connection.send_json(["resize", {"width": 120, "height": 40}])
            await connection.send_json(["stdin", "6"])
            await shows(connection, "Views, enter shows one")
            written = tmp_path / "stolen.csv"
            await connection.send_json(["stdin", f"scopy comparison to '{written}'\r"])
            await shows(connection, "COPY statements cannot be run")
            await connection.send_json(["stdin", "\x1b"])
        end = time.monotonic() + 10
        while server.tabs:
            assert time.monotonic() < end, "the process outlived its tab"
            await asyncio.sleep(0.1)

    with web_server(state, folder=tmp_path) as server:
        visit(server, scenario)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_tabs_beyond_the_limit_are_told_and_all_end_with_their_server(state):
    async def scenario(visitor):
        await visitor.log_in()
        async with contextlib.AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(visitor.connect()) for _ in range(2)]
            await shows(first, "icc-ablations")
            await shows(second, "icc-ablations")
            async with visitor.connect() as third:
                await shows(third, "2 tabs are open", "larger --tabs")
            await first.close()
            async with visitor.connect() as third:
                await shows(third, "icc-ablations")
                tabs = server.tabs
                assert len(tabs) == 2
                server.process.kill()
                _, alive = psutil.wait_procs(tabs, timeout=8)
        assert alive == []

    with web_server(state, "--tabs=2") as server:
        visit(server, scenario)


HOSTILE = """<!doctype html><title>working</title><script>
const target = "127.0.0.1:PORT", found = {};
function socket(address) {
  return new Promise(done => {
    const it = new WebSocket(address);
    it.onopen = () => { it.send('["stdin", "e"]'); done("open"); };
    it.onerror = () => done("refused");
  });
}
function read(address) {
  return fetch(address, {credentials: "include"}).then(r => r.text(), () => "refused");
}
function frame(address) {
  return new Promise(done => {
    const it = document.createElement("iframe");
    it.onload = () => { try { done(it.contentDocument.body.innerText || "empty") }
                        catch { done("refused") } };
    it.src = address;
    document.documentElement.append(it);
  });
}
(async () => {
  found.socket = await socket(`ws://${target}/ws`);
  found.page = await read(`http://${target}/`);
  found.script = await read(`http://${target}/static/js/textual.js`);
  found.frame = await frame(`http://${target}/`);
  document.title = JSON.stringify(found);
})();
</script>"""


@contextlib.contextmanager
def hostile_page(target):
    """Serve a page that attacks the view, from another port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(HOSTILE.replace("PORT", str(target)).encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


OF_TEXT = 20_000  # bytes; the picture of an empty page has less


@needs_browser
def test_a_browser_shows_the_study_and_a_hostile_page_in_it_gets_nothing(state, tmp_path):
    """From this machine itself, where SameSite does not hold, from elsewhere, and by rebinding."""

    async def look(page):
        await page.go(server.address)
        await page.until(STARTED)
        for _ in range(20):  # on a busy machine the first frame takes its time
            await asyncio.sleep(1.0)
            shown = await page.ask("Page.captureScreenshot")
            if len(base64.b64decode(shown["data"])) > OF_TEXT:
                break
        assert await page.value("location.href") == f"{server.base}/", "no token in the address"
        assert page.hosts == {"127.0.0.1"}
        found = {}
        for name in ("127.0.0.1", "localhost", "evil.test"):
            await page.go(f"http://{name}:{port}/")
            title = "document.title.startsWith('{') && document.title"
            found[name] = json.loads(await page.until(title))
        await page.go(f"http://evil.test:{server.port}/")
        rebound = await page.until("document.title")
        await page.go(f"{server.base}/")
        await page.until(STARTED)
        return base64.b64decode(shown["data"]), found, rebound, len(server.tabs)

    resolved = "--host-resolver-rules=MAP evil.test 127.0.0.1"
    with web_server(state, folder=tmp_path) as server, hostile_page(server.port) as port:
        shown, found, rebound, tabs = in_browser(tmp_path / "profile", look, resolved)
    if kept := os.environ.get("ICCKD_WEB_PICTURE"):
        Path(kept).write_bytes(shown)
    assert len(shown) > OF_TEXT
    for name, results in found.items():
        assert results.pop("frame") in ("refused", "empty"), name
        assert set(results.values()) == {"refused"}, (name, results)
    assert rebound == "icckd: refused"
    assert tabs == 1
    assert [path.name for path in tmp_path.iterdir()] == ["profile"]


def test_our_pages_name_no_other_host():
    for path in PAGE.iterdir():
        text = path.read_text()
        assert "http://" not in text
        assert "https://" not in text
