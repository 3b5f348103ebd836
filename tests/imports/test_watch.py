"""The monitor on an imported study: every screen draws it, and says that its runs were imported."""

import asyncio
import time

import pytest

from icckd.journal.folder import StateFolder
from icckd_tui.app import WatchApp
from icckd_tui.feed import source_in
from tests.imports.conftest import steps_of, wide, write_csv


def text_of(app: WatchApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


@pytest.mark.slow
def test_every_screen_shows_an_imported_study(desk):
    write_csv(desk.folder / "runs.csv", steps_of(wide()))
    desk.run(
        "import", "csv", "runs.csv", "--arm", "method", "--metric", "acc", "--step", "epoch",
        "--rule", "last",
    )  # fmt: skip

    async def scenario() -> None:
        app = WatchApp(source_in(StateFolder(desk.state)), "runs")
        async with app.run_test(size=(160, 45)) as pilot:
            await until(lambda: app.state.frame is not None)
            await until(lambda: "imported runs" in text_of(app))
            assert "24" in text_of(app)
            for key in ("2", "3", "4", "5", "6", "7", "1"):
                await pilot.press(key)
                await pilot.pause()
                assert "most recent call last" not in text_of(app)
            await pilot.press("3")
            await until(lambda: "no-cache" in text_of(app))

    asyncio.run(scenario())
