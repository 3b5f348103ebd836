"""The monitor beside a real process that writes fast and badly, and is killed."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from icckd.journal.folder import StateFolder
from icckd_tui.app import WatchApp
from icckd_tui.data import Failed, Frame
from icckd_tui.feed import source_in
from icckd_tui.state import AppState

WRITER = Path(__file__).with_name("fake_writer.py")
SOAK_SECONDS = float(os.environ.get("ICCKD_SOAK_SECONDS", "600"))
PRESS_SECONDS = 0.5
MOST_SLOPE = 2.0 * 2**20  # bytes a minute
MOST_LAG = 0.1  # seconds, of 99 in 100 turns of the loop; the writer competes for the machine


def start_writer(root, *arguments):
    home = Path(__file__).parents[2]
    paths = os.pathsep.join([str(home), str(home / "core"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(WRITER), str(root), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths},
    )


async def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def text_of(app):
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


@pytest.mark.long
def test_a_fast_and_careless_writer_is_followed_until_it_is_killed(tmp_path, monkeypatch):
    folder, brought, apply = StateFolder(tmp_path / "state"), [], AppState.apply
    monkeypatch.setattr(
        AppState, "apply", lambda self, update: brought.append(update) or apply(self, update)
    )

    async def scenario(writer):
        app = WatchApp(source_in(folder), None)
        async with app.run_test(size=(160, 45)) as pilot:
            state = app.state
            await until(lambda: state.frame is not None and state.frame.progress.trials.running)
            await until(lambda: state.frame.progress.trials.complete >= 1)
            for key in ("j", "c", "x", "2", "v", "4", "5", "7", "1"):
                await pilot.press(key)
                assert not set("\x1b\x07") & set(text_of(app))
            await until(lambda: state.frame.curves.get("student.val_top1"))
            await until((folder.attempts / "short-0000000-1" / "journal.jsonl").exists)
            done = state.frame.progress.trials.complete
            await until(lambda: state.frame.progress.trials.complete > done)
            assert "failed" not in text_of(app).lower()
            for curve in state.frame.curves["student.val_top1"]:
                # torn lines and clocks that jump lose and reorder nothing; NaN is a gap
                epochs = list(curve.epochs_E)
                assert epochs == [n for n in range(1, epochs[-1] + 1) if n % 9]
            assert any("\x1b[31m" in line.text for line in state.frame.log)
            writer.kill()
            await until(lambda: state.frame.progress.session == "interrupted")
            await pilot.pause()
            assert "INTERRUPTED" in text_of(app)

    writer = start_writer(folder.root)
    try:
        asyncio.run(scenario(writer))
    finally:
        writer.kill()
        writer.wait()
    assert not any(isinstance(update, Failed) for update in brought)
    assert sum(isinstance(update, Frame) for update in brought) > 10


@pytest.mark.slow
def test_a_viewer_that_is_killed_leaves_the_writer_its_folder(tmp_path):
    folder = StateFolder(tmp_path / "state")
    writer = start_writer(folder.root, 3)
    while not folder.exists():
        time.sleep(0.05)
    code = (
        "import asyncio, sys; from icckd.journal.folder import StateFolder;"
        "from icckd_tui.app import WatchApp; from icckd_tui.feed import source_in;"
        "from pathlib import Path;"
        "app = WatchApp(source_in(StateFolder(Path(sys.argv[1]))), None);"
        "asyncio.run(app.run_async(headless=True))"
    )
    viewer = subprocess.Popen([sys.executable, "-c", code, str(folder.root)])
    time.sleep(2.0)
    viewer.kill()
    viewer.wait()

    assert writer.wait(60) == 0


@pytest.mark.long
def test_ten_minutes_of_news_and_keys_leave_memory_flat_and_the_loop_quick(tmp_path):
    folder, lags, sizes = StateFolder(tmp_path / "state"), [], []
    process = psutil.Process()

    async def watch_lag():
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.01)
            lags.append(time.perf_counter() - start - 0.01)

    async def scenario():
        app = WatchApp(source_in(folder), None)
        async with app.run_test(size=(160, 45)) as pilot:
            await until(lambda: app.state.frame is not None)
            sentinel = asyncio.ensure_future(watch_lag())
            end, step = time.monotonic() + SOAK_SECONDS, 0
            while time.monotonic() < end:
                due = time.monotonic() + PRESS_SECONDS
                key = ("1", "j", "2", "s", "4", "5", "7", "3")[step % 8]
                await pilot.press(key)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                step += 1
                sizes.append(process.memory_info().rss)
            sentinel.cancel()

    writer = start_writer(folder.root, 30, 1000)
    try:
        asyncio.run(scenario())
    finally:
        writer.kill()
        writer.wait()
    slope = slope_of(sizes)
    lag = sorted(lags)[int(len(lags) * 0.99)]
    written = sum(path.stat().st_size for path in folder.root.rglob("journal.jsonl"))
    print(
        f"memory {sizes[-1] / 2**20:.0f} MiB, slope {slope / 2**20:.2f} MiB a minute,"
        f" lag p99 {1000 * lag:.0f} ms, most {1000 * max(lags):.0f} ms,"
        f" {written / 2**20:.1f} MiB of journals"
    )
    assert slope < MOST_SLOPE
    assert lag < MOST_LAG


def slope_of(sizes):
    """Return the growth in bytes a minute by least squares, from after the start."""
    settled = sizes[len(sizes) // 4 :]
    minutes = np.arange(len(settled)) * PRESS_SECONDS / 60
    return float(np.polyfit(minutes, settled, 1)[0])
