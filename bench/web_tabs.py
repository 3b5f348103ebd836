"""Memory of the view in a browser at 1, 2 and 4 tabs: `python bench/web_tabs.py STATE_FOLDER`.

The server and each tab are processes; PSS divides what they share (libraries, mostly) by those that
share it, so that its sum is what the machine gives. A client without a browser holds the tabs open
at 160x45, and one of the largest size that is drawn.
"""

import asyncio
import os
import socket
import subprocess
import sys

import aiohttp
import psutil
from timing import write_result

TABS = (1, 2, 4)
SETTLE_SECONDS = 5.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resident(pid: int) -> tuple[float, float]:
    """Return PSS and RSS of a process in bytes."""
    info = psutil.Process(pid).memory_full_info()
    return info.pss, info.rss


def row(what: str, process: subprocess.Popen[str]) -> str:
    """Return one line of the table: the server, its tabs, and all of them."""
    tabs = [resident(child.pid) for child in psutil.Process(process.pid).children()]
    server = resident(process.pid)
    total = server[0] + sum(pss for pss, _ in tabs)
    largest = max(rss for _, rss in tabs)
    return (
        f"| {what} | {total / 1e6:.0f} MB | {server[0] / 1e6:.0f} MB |"
        f" {largest / 1e6:.0f} MB ({max(pss for pss, _ in tabs) / 1e6:.0f} MB) |"
    )


async def measure(address: str, process: subprocess.Popen[str]) -> list[str]:
    """Open tabs and return what they take."""
    base, rows = address.partition("/?")[0], []
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(address) as response:
            response.raise_for_status()

        async def open_tab(width: int, height: int) -> tuple[object, asyncio.Task[None]]:
            query = f"?width={width}&height={height}"
            connection = await session.ws_connect(
                f"{base}/ws{query}", headers={"Origin": base}, max_msg_size=0
            )

            async def drain() -> None:
                async for _ in connection:
                    pass

            return connection, asyncio.ensure_future(drain())

        held = []
        for count in TABS:
            while len(held) < count:
                held.append(await open_tab(160, 45))
            await asyncio.sleep(SETTLE_SECONDS)
            rows.append(row(f"{count} of 160x45", process))
        for connection, task in held:
            await connection.close()  # type: ignore[attr-defined]
            await task
        await asyncio.sleep(SETTLE_SECONDS)
        await open_tab(20_000, 20_000)
        await asyncio.sleep(SETTLE_SECONDS)
        rows.append(row("1 that asks for 20,000 x 20,000", process))
    return rows


def main() -> None:
    """Measure once and write the result."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "icckd.cli.main", "watch", "--web", f"--port={port}"],
        env={**os.environ, "ICCKD_HOME": sys.argv[1]}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        rows = asyncio.run(measure(process.stderr.readline().split()[1], process))
    finally:
        process.terminate()
        process.wait(20)
    write_result(
        "web-tabs",
        [
            "| tabs | all, PSS | server, PSS | largest tab, RSS (PSS) |",
            "| --- | --- | --- | --- |",
            *rows,
        ],
    )


if __name__ == "__main__":
    main()
