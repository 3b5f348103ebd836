"""Texts that mean harm, from real journals, on every screen there is and in its every pane.

A new screen is covered once it is registered.
"""

import asyncio
from types import SimpleNamespace

import pytest

from icckd_tui.app import WatchApp
from icckd_tui.feed import source_in
from icckd_tui.screens.registry import SCREENS
from tests.faults.texts import TEXTS, harm_in, hostile_study
from tests.support.lab import Lab

WIDTH, HEIGHT = 120, 40
PRESSES = ("tab", "enter", "question_mark", "escape")


@pytest.fixture(scope="module", params=["all", "megabyte"])
def hostile(request, tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("hostile"))
    hostile_study(lab, TEXTS[request.param])
    return SimpleNamespace(folder=lab.folder, name=request.param)


async def visit(app, pilot, number, name):
    """Open a screen and press keys in its panes; look at every picture that comes of it."""
    await pilot.press(str(number))
    await pilot.pause()
    assert name == app.monitor_screen.NAME
    check(app)
    for key in PRESSES:
        if name != app.monitor_screen.NAME:
            break
        await pilot.press(key)
        await pilot.pause()
        check(app)
    await pilot.press("escape", "1")
    await pilot.pause()


def check(app):
    """Nothing that a terminal obeys is sent, every line is as wide as the screen, nobody left."""
    strips = app.screen._compositor.render_strips()
    assert {strip.cell_length for strip in strips} == {WIDTH}
    assert len(strips) == HEIGHT
    for strip in strips:
        assert harm_in("".join(segment.text for segment in strip), lines=False) == []
        assert not [s for s in strip if s.style and s.style.meta.get("@click") == "app.quit"]
    assert app.is_running


async def ask(app, pilot):
    """Have the SQL screen show the log."""
    await pilot.press("6", "s")
    app.monitor_screen.query_one("#sql-input").value = "from log"
    await pilot.press("enter")
    for _ in range(200):
        await pilot.pause()
        await asyncio.sleep(0.05)
        if " rows in " in picture(app):
            return check(app)
    raise AssertionError(picture(app))


def picture(app):
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


@pytest.mark.slow
def test_no_screen_is_styled_moved_or_crashed_by_a_text(hostile):
    async def scenario():
        app = WatchApp(source_in(hostile.folder), None)
        async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
            for _ in range(400):
                await pilot.pause()
                if app.state.frame is not None:
                    break
                await asyncio.sleep(0.02)
            assert app.state.frame is not None
            for number, name in enumerate(SCREENS, start=1):
                await visit(app, pilot, number, name)
            if hostile.name == "all":
                await ask(app, pilot)

    asyncio.run(scenario())
