"""Every key of every screen reaches the action that its binding names, and breaks nothing."""

import pytest

from icckd_tui.keys import keys_of
from icckd_tui.screens.registry import SCREENS, number_keys
from icckd_tui.widgets.chart import CurveChart
from icckd_tui.widgets.table import GridTable
from tests.support import monitor as sample
from tests.support.lanes import slow_but


def pressed_of(*keys):
    return [(name, key.action) for key in keys for name in key.key.split(",")]


async def press_all(it, pressed, name, focus):
    """Press each key with the focus where it works; its action runs.

    Opening the screens by their numbers is only heard: a test below does it.
    """
    opening = {key.action for key in number_keys()}
    for key, action in pressed:
        if action == "leave":
            continue
        if name != it.screen.NAME:
            it.app.open(name)
            await it.pilot.pause()
        await focus()
        heard = []
        run = it.app.run_action

        async def listening(action, *args, _heard=heard, _run=run, **more):
            _heard.append(str(action))
            return str(action).removeprefix("app.") in opening or await _run(action, *args, **more)

        it.app.run_action = listening
        await it.press(key)
        it.app.run_action = run
        assert action.removeprefix("app.") in [a.removeprefix("app.") for a in heard], (key, heard)
        while it.app.screen is not it.screen:
            await it.press("escape")
        assert it.app.is_running


@pytest.mark.parametrize("name", slow_but(SCREENS, "sql"))
def test_every_key_of_the_screen_runs_its_action(watch, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def scenario(it):
        async def at_first_table():
            shown = [table for table in it.screen.query(GridTable) if table.display]
            if not shown or it.screen._maximized:
                it.screen._maximized = False
                if name == "charts":
                    it.screen.view.x.cursor = 0.5
                it.screen.lay_out()
                shown = [table for table in it.screen.query(GridTable) if table.display]
            it.screen.set_focus(shown[0])

        await press_all(
            it,
            pressed_of(*number_keys(), *keys_of(SCREENS[name].load()), *keys_of(GridTable)),
            name,
            at_first_table,
        )

    watch(scenario, submit=lambda request: request.kind)


@pytest.mark.parametrize("name", ["study", "charts"])
def test_every_key_of_a_chart_runs_its_action(watch, name):
    async def scenario(it):
        async def at_chart():
            it.screen.set_focus(next(iter(it.screen.query(CurveChart))))

        await press_all(it, pressed_of(*keys_of(CurveChart)), name, at_chart)

    watch(scenario)


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_opens_by_its_number_and_is_left_by_escape_and_q(watch, name):
    number = str(list(SCREENS).index(name) + 1)

    async def scenario(it):
        await it.press(number)
        assert name == it.screen.NAME
        assert f"{number} {name}" in it.text().splitlines()[-1]
        await it.press("escape")
        assert it.screen.NAME == "study"
        await it.press(number, "q")

    assert watch(scenario, size=(80, 24)).app.return_value == "go-on"


def test_commands_of_the_palette_run(watch):
    async def scenario(it):
        commands = {c.title: c.callback for c in it.app.get_system_commands(it.app.screen)}
        commands["Charts"]()
        await it.pilot.pause()
        assert it.screen.NAME == "charts"
        await it.press("ctrl+p")
        assert len(it.app.screen_stack) == 3
        await it.press("escape")

    watch(scenario)


def test_the_sample_has_every_state():
    assert {row.state for row in sample.trials()} >= {"complete", "running", "failed", "pending"}
