"""A screen that is added from outside: one file and one row of the registry."""

import importlib.util
import sys
from pathlib import Path

import pytest

from icckd_tui.screens import registry
from icckd_tui.screens.dialogs import Help
from tests.support.lab import planned
from tests.support.terminal import Terminal

FILE = '''"""Slowest arms first."""

from dataclasses import dataclass

from icckd_tui.keys import Key
from icckd_tui.screens.base import MonitorScreen
from icckd_tui.tables import Row, Table, fitted
from icckd_tui.text import Span
from icckd_tui.widgets.table import GridTable


@dataclass(frozen=True)
class Memory:
    def read(self, results, study):
        peaks = results.values(study, "teacher.memory_rss")
        return {arm: max(by_seed.values()) for arm, by_seed in peaks.items()}


class SpeedScreen(MonitorScreen):
    NAME = "speed"
    ABOUT = "The arms by the time of their trials."
    PANES = ("arms",)
    BINDINGS = [Key("o", "turn", "slowest or fastest arm first", label="Turn", rank=3)]

    def panes(self):
        self.fastest = False
        yield GridTable(glyphs=self.glyphs, id="arms", classes="pane")

    def request_data(self):
        self.state.request_data(queries=(Memory(),))

    def fill(self, pane):
        memory = self.frame.answer(Memory())
        if memory is None:
            return
        seconds = {arm.name: 0.0 for arm in self.frame.study.arms}
        for trial in self.frame.trials:
            seconds[trial.arm] += trial.seconds
        ordered = sorted(seconds, key=seconds.get, reverse=not self.fastest)
        rows = [Row(key=arm, cells=((Span(arm),), (Span(f"{seconds[arm]:.0f} s"),),
                                    (Span(f"{memory[arm]:.1f}"),)))
                for arm in ordered]
        table = self.query_one(GridTable)
        columns = fitted(rows, ("arm", "time", "peak"), right=(1, 2))
        table.show(Table(columns=columns, rows=tuple(rows)))
        table.set_titles("Speed of arms")

    def action_turn(self):
        self.fastest = not self.fastest
        self.refill("arms")
'''
PAGE = Path(__file__).parents[2] / "docs" / "screens" / "page.py"


@pytest.fixture
def speed_screen(tmp_path, monkeypatch):
    (tmp_path / "speed_screen.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    registry.register("speed", "speed: the slowest arms", "speed_screen:SpeedScreen")
    yield
    del registry.SCREENS["speed"]
    sys.modules.pop("speed_screen", None)


def test_a_new_screen_is_reached_by_its_number_and_shows_its_table(watch, speed_screen):
    async def scenario(it):
        assert "8 speed" in it.text().splitlines()[-1]
        await it.press("8")
        assert it.screen.NAME == "speed"
        await it.until(lambda: "Speed of arms" in it.text())
        assert "91.5" in it.text(), "what its query read"
        first = it.pane("arms").table.rows[0].key
        assert "o Turn" in it.text()
        await it.press("o")
        assert it.pane("arms").table.rows[-1].key == first
        await it.press("escape")
        assert it.screen.NAME == "study"

    watch(scenario)


@pytest.mark.slow
def test_a_new_screen_is_in_help_and_palette(watch, speed_screen):
    async def scenario(it):
        await it.press("question_mark")
        assert isinstance(it.app.screen, Help)
        assert "speed: the slowest arms" in it.text()
        await it.press("escape", "8", "question_mark")
        assert "On Speed" in it.text()
        assert "slowest or fastest arm first" in it.text()
        await it.press("escape")
        commands = {c.title: c.callback for c in it.app.get_system_commands(it.app.screen)}
        assert "Slowest or fastest arm first" in commands
        await it.press("1", "colon", *"speed")
        await it.until(lambda: "speed: the slowest arms (8)" in it.text())
        await it.press("enter")
        await it.until(lambda: it.app.screen is it.screen and it.screen.NAME == "speed")

    watch(scenario, size=(160, 110))


def test_a_new_screen_is_in_the_page_about_the_monitor(speed_screen):
    spec = importlib.util.spec_from_file_location("page", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    text = module.page()

    assert "### 8 Speed\n\nThe arms by the time of their trials." in text
    assert "| `8` | speed: the slowest arms |" in text
    assert "On Speed:\n\n| key | |\n| --- | --- |\n| `o` | slowest or fastest arm first |" in text


def test_a_screen_of_an_installed_package_is_found_and_a_broken_one_is_told(lab, tmp_path):
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    (tmp_path / "speed_screen.py").write_text(FILE)
    metadata = tmp_path / "speedy-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: speedy\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[icckd.screens]\nspeed = speed_screen:SpeedScreen\nzone = speed_screen:NoScreen\n"
    )
    with Terminal(lab.folder.root, PYTHONPATH=str(tmp_path)) as terminal:
        terminal.until("icc-ablations", "8 speed", "9 zone")
        terminal.press("9")
        terminal.until("screen 'zone' cannot")
        terminal.press("8")
        terminal.until("Speed of arms")
        terminal.press("?")
        terminal.until("speed: a screen of speedy", "On Speed")
        terminal.press("\x11")
        assert terminal.wait() == 0


def test_two_screens_cannot_share_a_name(speed_screen):
    with pytest.raises(ValueError, match="there is a screen 'speed'"):
        registry.register("speed", "speed: again", "speed_screen:SpeedScreen")
