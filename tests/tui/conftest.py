import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from icckd_tui.app import WatchApp
from tests.support import monitor as sample
from tests.tui.settling import settled

PATIENCE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("NO_COLOR", "TEXTUAL_THEME", "COLORTERM", "ICCKD_GLYPHS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def keys_settle(monkeypatch):
    """A pressed key has had its effect when the test goes on, and costs no more than that."""
    for module in ("pilot", "app"):
        monkeypatch.setattr(f"textual.{module}.wait_for_idle", settled)


class Watched:
    """A running app with its reader and pilot."""

    def __init__(self, app, pilot, reader):
        self.app, self.pilot, self.reader = app, pilot, reader

    @property
    def screen(self):
        return self.app.monitor_screen

    @property
    def frame(self):
        return self.app.state.frame

    def pane(self, name):
        return self.screen.query_one(f"#{name}")

    def text(self, screen=None):
        strips = (screen or self.app.screen)._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def until(self, condition):
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            await self.pilot.pause()
            if condition():
                return
            assert time.monotonic() < end, self.text()
            await asyncio.sleep(0.01)

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def bring(self, **values):
        """Let the feed bring changed values and wait until they are shown."""
        before = self.frame
        self.reader.data.update(values)
        self.reader.changed = True
        self.app._feed._wake.set()
        await self.until(lambda: self.frame is not before)
        await self.pilot.pause()


@pytest.fixture
def watch():
    """Run a scenario: an async function of a Watched app."""

    @asynccontextmanager
    async def running(
        size,
        reader,
        study=None,
        ready=lambda: True,
        frame=True,
        host=None,
        processes=None,
        **options,
    ):
        app = WatchApp(
            reader.source(ready, host, processes), study, clock=lambda: sample.NOW, **options
        )
        async with app.run_test(size=size, notifications=True) as pilot:
            watched = Watched(app, pilot, reader)
            if frame:
                await watched.until(lambda: watched.frame is not None)
                for _ in range(3):  # what is shown first asks for more, late on a busy machine
                    await settled(min_sleep=0.05, max_sleep=20)
            yield watched

    def run(scenario, size=(160, 45), reader=None, **options):
        async def whole():
            async with running(size, reader or sample.FakeReader(), **options) as watched:
                await scenario(watched)
            return watched

        return asyncio.run(whole())

    return run
